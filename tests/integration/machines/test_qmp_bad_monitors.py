"""Monitors that do what QEMU never should: a typed error in time, little memory, and the next command works."""

import asyncio
import tracemalloc
from pathlib import Path

import pytest

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    MonitorBusy,
    ProtocolViolation,
    TimedOut,
)
from quarterdeck.machines.qmp import QmpProtocol, QmpProtocolBuilder
from quarterdeck.machines.qmp.client import MAX_REPLY_BYTES
from quarterdeck.machines.qmp.socket_monitor import MAX_UNANSWERED
from tests.integration.machines.monitor_peer import GREETING, MonitorConnection, Script, monitor

PATIENT = QmpProtocolBuilder().with_timeout(60)
HASTY = QmpProtocolBuilder().with_timeout(0.2)


async def well_behaved(connection: MonitorConnection) -> None:
    """Answers every request with its own name."""
    await connection.greet()
    while True:
        request = await connection.request()
        connection.answer(request, {"asked": request["execute"]})


def saying(content: bytes) -> Script:
    """After the greeting, whatever it is asked."""

    async def script(connection: MonitorConnection) -> None:
        await connection.greet()
        await connection.request()
        connection.write(content)
        await connection.until_client_leaves()

    return script


async def deaf(connection: MonitorConnection) -> None:
    """Greets, and answers nothing."""
    await connection.greet()
    await connection.until_client_leaves()


async def silent(connection: MonitorConnection) -> None:
    await connection.until_client_leaves()


async def asked(protocol: QmpProtocol, command: str = "query-x") -> object:
    return (await protocol.execute_command(command))["asked"]


NO_QMP = {
    "not JSON": b"how do you do\r\n",
    "not UTF-8": b"\xff\xfe\r\n",
    "no object": b"[1, 2]\r\n",
    "nothing known": b'{"id": [1]}\r\n',
    "half a line": b'{"return": \r\n',
    "very deep": b"[" * 100_000 + b"\r\n",
    "a huge number": b'{"return": ' + b"9" * 10_000 + b"}\r\n",
    "an error for nobody": b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n',
}


@pytest.mark.parametrize("content", NO_QMP.values(), ids=NO_QMP.keys())
async def test_what_is_no_qmp_is_a_violation_and_the_next_command_works(
    socket_dir: Path, content: bytes
) -> None:
    """S2-25F"""
    async with monitor(socket_dir, saying(content), well_behaved) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ProtocolViolation) as caught:
            await protocol.execute_command("query-x")

        assert "how do you do" not in str(caught.value)
        assert await asked(protocol) == "query-x"
        await protocol.disconnect()


@pytest.mark.parametrize("reply", [{}, {"error": 5}, {"error": {"class": "X"}}])
async def test_an_answer_that_is_none_is_a_violation_of_one_request_alone(
    socket_dir: Path, reply: dict[str, object]
) -> None:
    """S2-8, S2-25F"""

    async def script(connection: MonitorConnection) -> None:
        await connection.greet()
        request = await connection.request()
        members = "".join(f', "{name}": {value}' for name, value in reply.items()).replace("'", '"')
        connection.write(f'{{"id": "{request["id"]}"{members}}}\r\n'.encode())
        while True:
            request = await connection.request()
            connection.answer(request, {"asked": request["execute"]})

    async with monitor(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ProtocolViolation):
            await protocol.execute_command("query-x")

        assert await asked(protocol) == "query-x"
        assert peer.connections == 1
        await protocol.disconnect()


async def test_an_endless_answer_is_cut_off(socket_dir: Path) -> None:
    """S2-25F"""

    async def endless(connection: MonitorConnection) -> None:
        await connection.greet()
        await connection.request()
        while True:
            connection.write(b" " * 65_536)
            await connection.writer.drain()

    async with monitor(socket_dir, endless, well_behaved) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolViolation):
                await protocol.execute_command("query-x")
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak_bytes < 6 * MAX_REPLY_BYTES
        assert await asked(protocol) == "query-x"
        await protocol.disconnect()


async def test_an_answer_for_another_id_is_nobodys(socket_dir: Path) -> None:
    """S2-6, S2-25F"""

    async def script(connection: MonitorConnection) -> None:
        await connection.greet()
        while True:
            request = await connection.request()
            connection.write(b'{"return": {"asked": "stale"}, "id": "__qmp#00000"}\r\n')
            connection.answer({"id": "somebody-else"}, {"asked": "stale"})
            connection.write(b'{"return": {"asked": "stale"}}\r\n')
            connection.answer(request, {"asked": request["execute"]})
            connection.answer(request, {"asked": "again"})

    async with monitor(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        assert [await asked(protocol, name) for name in ("query-a", "query-b", "query-c")] == [
            "query-a",
            "query-b",
            "query-c",
        ]
        await protocol.disconnect()


async def test_answers_to_an_earlier_client_are_nobodys(socket_dir: Path) -> None:
    """S2-5, S2-6, S2-25F"""
    stale = b'{"error": {"class": "GenericError", "desc": "stale"}, "id": "theirs"}\r\n'

    async def script(connection: MonitorConnection) -> None:
        connection.write(stale + GREETING + stale)
        negotiation = await connection.request()
        connection.write(stale)
        connection.answer(negotiation, {})
        request = await connection.request()
        connection.write(stale)
        connection.answer(request, {"asked": request["execute"]})
        await connection.until_client_leaves()

    async with monitor(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        assert await asked(protocol) == "query-x"
        await protocol.disconnect()


async def test_a_late_answer_is_not_the_next_callers(socket_dir: Path) -> None:
    """S2-6, S2-25F"""

    was_asked = asyncio.Event()

    async def script(connection: MonitorConnection) -> None:
        await connection.greet()
        late = await connection.request()
        was_asked.set()
        request = await connection.request()
        connection.answer(late, {"asked": "late"})
        connection.answer(request, {"asked": request["execute"]})
        await connection.until_client_leaves()

    async with monitor(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        impatient = asyncio.create_task(protocol.execute_command("query-slow"))
        await was_asked.wait()
        impatient.cancel()

        assert await asked(protocol, "query-next") == "query-next"
        assert peer.connections == 1
        await protocol.disconnect()


async def test_a_command_without_an_answer_times_out_and_the_connection_stays(socket_dir: Path) -> None:
    """S2-25F"""
    async with monitor(socket_dir, deaf) as peer:
        protocol = QmpProtocolBuilder().with_timeout(2).build()
        await protocol.connect(peer.guest)

        with pytest.raises(TimedOut, match="no answer to query-slow in 2 s"):
            await protocol.execute_command("query-slow")

        assert await protocol.is_connected()
        await protocol.disconnect()


async def test_a_monitor_that_never_answers_costs_little_memory(socket_dir: Path) -> None:
    """S2-25F"""
    async with monitor(socket_dir, deaf) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        leavers = [asyncio.create_task(protocol.execute_command("query-x")) for _ in range(MAX_UNANSWERED)]
        for _ in range(3):
            await asyncio.sleep(0)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.wait(leavers)

        with pytest.raises(TimedOut, match="still unanswered"):
            await protocol.execute_command("query-x")

        await protocol.disconnect()


async def test_a_monitor_without_a_greeting_is_busy(socket_dir: Path) -> None:
    """S2-5, S2-25F"""
    async with monitor(socket_dir, silent) as peer:
        with pytest.raises(MonitorBusy):
            await HASTY.build().connect(peer.guest)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0\r\n", b'{"QMP": 1}\r\n', b"{}\r\n", b"x" * (3 * MAX_REPLY_BYTES)]
)
async def test_a_greeting_that_is_none_is_a_violation(socket_dir: Path, greeting: bytes) -> None:
    """S2-5, S2-25F"""

    async def script(connection: MonitorConnection) -> None:
        connection.write(greeting)
        await connection.until_client_leaves()

    async with monitor(socket_dir, script) as peer:
        protocol = PATIENT.build()

        with pytest.raises(ProtocolViolation):
            await protocol.connect(peer.guest)

        assert not await protocol.is_connected()


async def test_a_monitor_that_hangs_up_on_us_has_no_connection(socket_dir: Path) -> None:
    """S2-5, S2-25F"""

    async def rude(connection: MonitorConnection) -> None:
        connection.writer.close()

    async with monitor(socket_dir, rude) as peer:
        with pytest.raises(ConnectFailed, match="before its greeting"):
            await PATIENT.build().connect(peer.guest)


async def hangs_up_when_asked(connection: MonitorConnection) -> None:
    await connection.greet()
    await connection.request()


async def test_a_question_is_asked_again_over_a_new_connection(socket_dir: Path) -> None:
    """S2-25F"""
    async with monitor(socket_dir, hangs_up_when_asked, well_behaved) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        assert await asked(protocol, "query-x") == "query-x"

        assert peer.connections == 2
        await protocol.disconnect()


async def test_a_command_that_may_have_had_its_effect_is_not_made_again(socket_dir: Path) -> None:
    """S2-25F"""
    async with monitor(socket_dir, hangs_up_when_asked, well_behaved) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(ConnectionEnded):
            await protocol.execute_command("system_reset")

        assert peer.connections == 1
        assert await asked(protocol, "system_reset") == "system_reset"
        await protocol.disconnect()


async def test_disconnect_does_not_wait_for_a_monitor_that_reads_nothing(socket_dir: Path) -> None:
    """S2-25F"""
    let_go = asyncio.Event()

    async def stuck(connection: MonitorConnection) -> None:
        await connection.greet()
        connection.reader._transport.pause_reading()  # type: ignore[attr-defined]  # what a QEMU that stands still does
        await let_go.wait()

    async with monitor(socket_dir, stuck) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        request = asyncio.create_task(protocol.execute_command("blob", {"content": "x" * 4_000_000}))
        for _ in range(5):
            await asyncio.sleep(0)

        await protocol.disconnect()

        with pytest.raises(ConnectionEnded):
            await request
        let_go.set()
