"""Channels over real Unix sockets. The guest's program is a script here; the booted guest has a real one."""

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    ProtocolUnavailable,
    ProtocolViolation,
    TimedOut,
)
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.registry import ProtocolRegistry
from quarterdeck.machines.virtio_serial import JsonLines, VirtioSerialProtocol, VirtioSerialProtocolBuilder
from quarterdeck.machines.virtio_serial.virtio_serial import MAX_UNSENT_BYTES
from quarterdeck.testing.eventually import eventually
from tests.integration.machines.channel_peer import CHANNEL, Script, channel_peer, echo, silent

PATIENT = VirtioSerialProtocolBuilder().with_channel(CHANNEL).with_timeout(60)
HASTY = VirtioSerialProtocolBuilder().with_channel(CHANNEL).with_timeout(0.2)


@asynccontextmanager
async def connected(
    directory: Path, script: Script, builder: VirtioSerialProtocolBuilder = PATIENT
) -> AsyncIterator[VirtioSerialProtocol]:
    async with channel_peer(directory, script) as guest:
        channel = builder.build()
        await channel.connect(guest)
        yield channel
        await channel.disconnect()


def saying(content: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await echo(reader, writer)

    return script


async def test_bytes_go_both_ways(socket_dir: Path) -> None:
    """S2-1, S2-21F"""
    content = random.Random(1).randbytes(1_000_000)
    async with connected(socket_dir, echo) as channel:
        assert await channel.is_connected()
        sending = asyncio.create_task(channel.send(content))
        received = b""
        while len(received) < len(content):
            received += await channel.receive()
        await sending

        assert received == content
        assert channel.protocol_type() is ProtocolType.VIRTIO_SERIAL


async def test_the_only_channel_needs_no_name(socket_dir: Path) -> None:
    """S2-3, S2-21F"""
    async with channel_peer(socket_dir, echo) as guest:
        channel = ProtocolRegistry.with_installed().create("virtio_serial")
        await channel.connect(guest)
        await channel.send(b"ping")
        assert await channel.receive() == b"ping"
        await channel.disconnect()

    two = Guest(name="vm1", channels={"a": UnixEndpoint("/a"), "b": UnixEndpoint("/b")})
    with pytest.raises(ProtocolUnavailable, match="choose one"):
        await channel.connect(two)


async def test_a_channel_that_is_not_there_is_an_error_of_its_own(socket_dir: Path) -> None:
    """S2-25F"""
    channel = PATIENT.build()
    with pytest.raises(ConnectionEnded, match="not connected"):
        await channel.send(b"x")
    with pytest.raises(ConnectionEnded, match="not connected"):
        await channel.receive()
    with pytest.raises(ProtocolUnavailable, match=CHANNEL):
        await channel.connect(Guest(name="vm1"))
    with pytest.raises(ConnectFailed):
        gone = UnixEndpoint(str(socket_dir / "gone.sock"))
        await channel.connect(Guest(name="vm1", channels={CHANNEL: gone}))


async def test_a_guest_that_says_nothing_times_out_and_the_channel_stays(socket_dir: Path) -> None:
    """S2-25F"""
    async with connected(socket_dir, silent, HASTY) as channel:
        with pytest.raises(TimedOut, match="wrote nothing"):
            await channel.receive()

        assert await channel.is_connected()
        await channel.send(b"still there")


async def test_a_guest_that_reads_nothing_fills_no_memory(socket_dir: Path) -> None:
    """S2-25F"""
    let_go = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_go.wait()

    async with connected(socket_dir, deaf, HASTY) as channel:
        with pytest.raises(TimedOut, match="read nothing"):
            await channel.send(b"x" * 2 * MAX_UNSENT_BYTES)
        for _ in range(100):
            with pytest.raises(TimedOut, match="before these"):
                await channel.send(b"x" * MAX_UNSENT_BYTES)
        let_go.set()


async def test_a_guest_that_writes_without_end_is_held_back(socket_dir: Path) -> None:
    """S2-25F"""
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with connected(socket_dir, endless) as channel:
        before = -1
        while written != before:
            before = written
            for _ in range(50):
                await asyncio.sleep(0)

        assert written < 4_000_000
        assert await channel.receive()


async def test_a_guest_that_vanishes_ends_the_channel(socket_dir: Path) -> None:
    """S2-25F"""

    async def vanishing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with connected(socket_dir, vanishing) as channel:
        waiting = asyncio.create_task(channel.receive())
        await channel.send(b"x")

        with pytest.raises(ConnectionEnded):
            await waiting

        assert not await channel.is_connected()


async def test_a_guest_that_vanished_is_known_to_be_gone_before_anybody_writes(socket_dir: Path) -> None:
    """S2-25F: nothing is sent into a connection that ended, although its last words are still unread."""

    async def vanishing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"farewell")
        await writer.drain()

    async with connected(socket_dir, vanishing) as channel:

        async def is_gone() -> bool:
            return not await channel.is_connected()

        await eventually(is_gone)
        assert await channel.receive() == b"farewell"


async def test_a_receiver_of_the_connection_before_leaves_the_new_one_alone(socket_dir: Path) -> None:
    """S2-6"""
    async with channel_peer(socket_dir, echo) as guest:
        channel = PATIENT.build()
        await channel.connect(guest)
        waiting = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)

        await channel.connect(guest)

        with pytest.raises(ConnectionEnded):
            await waiting
        await channel.send(b"still there")
        assert await channel.receive() == b"still there"
        await channel.disconnect()


async def test_a_receiver_who_leaves_takes_nothing_along(socket_dir: Path) -> None:
    """S2-6"""
    async with connected(socket_dir, echo) as channel:
        leavers = [asyncio.create_task(channel.receive()) for _ in range(5)]
        await asyncio.sleep(0)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.wait(leavers)
        await channel.send(b"for whoever stays")

        assert await channel.receive() == b"for whoever stays"


async def test_messages_are_lines_of_json(socket_dir: Path) -> None:
    """S2-21F"""
    async with connected(socket_dir, echo) as channel:
        lines = JsonLines(channel)
        sent = [{"a": "line\nbreak"}, [1, 2.5, None], "text", 7, {"ü": {"deep": [True]}}]
        for message in sent:
            await lines.send_message(message)

        assert [await lines.receive_message() for _ in sent] == sent


NO_MESSAGE = {
    "not JSON": b"login: \n",
    "not UTF-8": b"\xff\n",
    "half a value": b'{"a": \n',
    "very deep": b"[" * 100_000 + b"\n",
    "too long": b"x" * 2_000_000 + b"\n",
    "two values": b"1 2\n",
}


@pytest.mark.parametrize("content", NO_MESSAGE.values(), ids=NO_MESSAGE.keys())
async def test_a_line_that_is_no_message_is_a_violation_and_the_next_one_is_read(
    socket_dir: Path, content: bytes
) -> None:
    """S2-25F"""
    async with connected(socket_dir, saying(content)) as channel:
        lines = JsonLines(channel)
        await lines.send_message("next")

        with pytest.raises(ProtocolViolation):
            await lines.receive_message()
        assert await lines.receive_message() == "next"


async def test_a_line_without_an_end_times_out_and_fills_no_memory(socket_dir: Path) -> None:
    """S2-25F"""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()

    async with connected(socket_dir, endless, HASTY) as channel:
        lines = JsonLines(channel, max_line_bytes=100_000)
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolViolation):
                await lines.receive_message()
            with pytest.raises(TimedOut, match="no whole line"):
                await lines.receive_message()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak_bytes < 5_000_000


@pytest.mark.parametrize("message", [float, {1: object()}, "x" * 2_000_000])
async def test_what_is_no_message_is_not_sent(socket_dir: Path, message: object) -> None:
    """S2-25F"""
    async with connected(socket_dir, echo) as channel:
        lines = JsonLines(channel)

        with pytest.raises(InvalidInput):
            await lines.send_message(message)

        await lines.send_message("next")
        assert await lines.receive_message() == "next"


async def test_requests_at_once_get_their_own_answers(socket_dir: Path) -> None:
    """S2-6, S2-21F"""
    async with connected(socket_dir, echo) as channel:
        lines = JsonLines(channel)

        answers = await asyncio.gather(*(lines.request({"number": number}) for number in range(100)))

        assert [answer["number"] for answer in answers] == list(range(100))


async def test_an_answer_that_comes_too_late_is_nobodys(socket_dir: Path) -> None:
    """S2-6, S2-25F"""

    asked = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        asked.set()
        second = await reader.readline()
        writer.write(b'{"boot": "noise"}\n"noise"\n' + first + second)
        await silent(reader, writer)

    async with connected(socket_dir, late) as channel:
        lines = JsonLines(channel)
        impatient = asyncio.create_task(lines.request({"number": 1}))
        await asked.wait()
        impatient.cancel()

        assert (await lines.request({"number": 2}))["number"] == 2


async def test_requesters_who_leave_mix_up_nothing(socket_dir: Path) -> None:
    """S2-6, S2-24F"""
    chance = random.Random(7)
    async with connected(socket_dir, echo) as channel:
        lines = JsonLines(channel)
        for number in range(300):
            leaver = asyncio.create_task(lines.request({"number": -number}))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            leaver.cancel()

            assert (await lines.request({"number": number}))["number"] == number
            await asyncio.wait({leaver})


async def test_what_is_written_is_one_line_a_message(socket_dir: Path) -> None:
    """S2-21F"""
    written: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        written.append(await reader.readline())
        writer.write(written[0])

    async with connected(socket_dir, record) as channel:
        answer = await JsonLines(channel).request({"ask": "how\nmuch"})

    assert json.loads(written[0]) == answer
    assert answer["ask"] == "how\nmuch"
