"""Agents that do what qemu-ga never should: a typed error in time, little memory, and the next command works."""

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.machines.errors import ConnectionEnded, ProtocolViolation, TimedOut
from quarterdeck.machines.guest import UnixEndpoint
from quarterdeck.machines.qga import (
    GuestExec,
    QgaProtocol,
    QgaProtocolBuilder,
)
from quarterdeck.machines.qga.socket_channel import SocketChannel
from quarterdeck.machines.qga.structures import Request
from tests.integration.machines.agent_peer import AgentConnection, Script, agent

PATIENT = QgaProtocolBuilder().with_timeout(60)
HASTY = QgaProtocolBuilder().with_timeout(0.5)


async def well_behaved(connection: AgentConnection) -> None:
    """Answers every request with its own name."""
    while True:
        request = await connection.request()
        connection.answer(request, request["execute"])


def misbehaving_once(content: bytes) -> Script:
    """Says this to its first request, and is well-behaved from then on."""

    async def script(connection: AgentConnection) -> None:
        await connection.request()
        connection.write(content)
        await well_behaved(connection)

    return script


async def asked(protocol: QgaProtocol, command: str) -> Any:
    return await protocol.execute(command)


NO_REPLIES = {
    "not JSON": b"how do you do\n",
    "not UTF-8": b"\xc3\x28\n",
    "no object": b"[1, 2]\n",
    "neither result nor error": b'{"id": "x"}\n',
    "both": b'{"return": 1, "error": {"class": "a", "desc": "b"}}\n',
    "very deep": b'{"id": ' + b"[" * 100_000 + b"\n",
    "a huge number": b'{"id": ' + b"9" * 10_000 + b', "return": 1}\n',
    "a delimiter": b"\xff\n",
    "an error that is for nobody": b'{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n',
}


@pytest.mark.parametrize("content", NO_REPLIES.values(), ids=NO_REPLIES)
async def test_what_is_no_reply_is_a_violation_and_the_next_command_works(
    socket_dir: Path, content: bytes
) -> None:
    """S2-25F."""
    async with agent(socket_dir, misbehaving_once(content)) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ProtocolViolation):
            await protocol.execute("guest-first")

        assert await asked(protocol, "guest-second") == "guest-second"
        await protocol.disconnect()


STALE = {
    "for another id": b'{"return": "somebody else\'s", "id": "x-1"}\n',
    "for an id that is a number": b'{"return": "somebody else\'s", "id": 1}\n',
    "without an id": b'{"return": "somebody else\'s"}\n',
    "refused to another": b'{"error": {"class": "GenericError", "desc": "no"}, "id": "x-1"}\n',
    "an empty line": b"\n",
}


@pytest.mark.parametrize("stale", STALE.values(), ids=STALE)
async def test_reply_to_somebody_else_is_dropped(socket_dir: Path, stale: bytes) -> None:
    """S2-25F."""

    async def script(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            connection.write(stale * 3)
            connection.answer(request, request["execute"])
            connection.write(stale)

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        assert [await asked(protocol, f"guest-{n}") for n in range(5)] == [f"guest-{n}" for n in range(5)]
        await protocol.disconnect()


async def test_what_an_earlier_client_was_to_be_told_is_dropped_at_the_connect(socket_dir: Path) -> None:
    """S2-25F. Half a line, replies, and answers to other syncs."""

    async def script(connection: AgentConnection) -> None:
        connection.write(b'"half a line"}\n{"return": 1, "id": "x"}\n\xff{"return": 7}\n{"return": {')
        await well_behaved(connection)

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()

        await protocol.connect(peer.guest)

        assert await asked(protocol, "guest-first") == "guest-first"
        await protocol.disconnect()


async def test_answer_that_comes_too_late_reaches_nobody(socket_dir: Path) -> None:
    """S2-12, S2-25F. On the same connection."""
    gate = asyncio.Event()

    async def script(connection: AgentConnection) -> None:
        late = await connection.request()
        await gate.wait()
        connection.answer(late, "too late")
        await well_behaved(connection)

    async with agent(socket_dir, script) as peer:
        protocol = HASTY.build()
        await protocol.connect(peer.guest)
        with pytest.raises(TimedOut):
            await protocol.execute("guest-first")

        gate.set()

        assert await asked(protocol, "guest-second") == "guest-second"
        assert peer.connections == 1
        await protocol.disconnect()


async def test_cancelled_request_leaves_nothing_to_the_next_one(socket_dir: Path) -> None:
    """S2-25F."""
    arrived = asyncio.Event()

    async def script(connection: AgentConnection) -> None:
        late = await connection.request()
        arrived.set()
        request = await connection.any_request()
        connection.answer(late, "for nobody")
        connection.answer_sync(request)
        await well_behaved(connection)

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        first = asyncio.create_task(protocol.execute("guest-first"))
        await arrived.wait()
        first.cancel()

        assert await asked(protocol, "guest-second") == "guest-second"
        assert first.cancelled()
        await protocol.disconnect()


async def test_endless_reply_is_a_violation_in_bounded_memory(socket_dir: Path) -> None:
    """S2-25F. No end of line, ever."""

    async def script(connection: AgentConnection) -> None:
        await connection.request()
        while True:
            connection.write(b"x" * 65_536)
            await connection.writer.drain()

    async with agent(socket_dir, script, well_behaved) as peer:
        endpoint = UnixEndpoint(str(socket_dir / "agent.sock"))
        channel = SocketChannel("vm1", endpoint, max_reply_bytes=1_000_000)
        await channel.open()
        tracemalloc.start()

        with pytest.raises(ProtocolViolation, match="more than 1000000 bytes"):
            await channel.exchange([Request("guest-first")], 60)

        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 5_000_000
        (answer,) = await channel.exchange([Request("guest-second")], 60)
        assert answer.value(str) == "guest-second"
        assert peer.connections == 2
        await channel.close()


async def test_endless_noise_in_place_of_a_sync_is_a_timeout_in_bounded_memory(socket_dir: Path) -> None:
    """S2-25F."""

    async def script(connection: AgentConnection) -> None:
        while True:
            connection.write(b"no delimiter\n" * 5_000)
            await connection.writer.drain()

    async with agent(socket_dir, script) as peer:
        tracemalloc.start()

        with pytest.raises(TimedOut):
            await HASTY.build().connect(peer.guest)

        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 10_000_000


async def test_agent_that_takes_nothing_costs_no_memory(socket_dir: Path) -> None:
    """S2-25F. Requests do not pile up on the way to it; when it comes back, it is asked the last one alone."""
    gate = asyncio.Event()
    seen: list[str] = []

    async def deaf(connection: AgentConnection) -> None:
        connection.answer_sync(await connection.any_request())
        connection.answer(await connection.any_request(), {})
        await gate.wait()

    async def listening(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            seen.append(request["execute"])
            connection.answer(request, "")

    async with agent(socket_dir, deaf, listening) as peer:
        protocol = HASTY.build()
        await protocol.connect(peer.guest)
        with pytest.raises(TimedOut):
            await protocol.execute("guest-first", {"much": "x" * 10_000_000})

        await protocol.execute("guest-second")

        gate.set()
        assert seen == ["guest-second"]
        await protocol.disconnect()


@pytest.mark.parametrize("content", [b"", b'{"return": ', b'{"return": 1, "id": "x"}\n'])
async def test_agent_that_vanishes_midway_is_a_typed_error(socket_dir: Path, content: bytes) -> None:
    """S2-25F."""

    async def script(connection: AgentConnection) -> None:
        await connection.request()
        connection.write(content)
        await connection.writer.drain()

    async with agent(socket_dir, script, well_behaved) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ConnectionEnded):
            await protocol.execute("guest-exec")

        assert await asked(protocol, "guest-second") == "guest-second"
        await protocol.disconnect()


async def test_status_that_is_none_is_a_violation(socket_dir: Path) -> None:
    """S2-25F."""

    async def script(connection: AgentConnection) -> None:
        connection.answer(await connection.request(), {"pid": 1})
        connection.answer(await connection.request(), {"exited": "maybe"})
        await well_behaved(connection)

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ProtocolViolation):
            await protocol.exec_and_wait(GuestExec(path="x"))

        assert await asked(protocol, "guest-second") == "guest-second"
        await protocol.disconnect()
