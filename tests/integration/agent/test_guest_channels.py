"""virtio.send, against scripted ends of a channel: what counts as the line in return, and what does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quarterdeck.agent.guests.exchange import exchange
from quarterdeck.agent.handlers import HandlerError
from quarterdeck.contracts.guests import VirtioReply, VirtioSend
from quarterdeck.machines.errors import ConnectionEnded
from quarterdeck.machines.guest import Guest, UnixEndpoint
from quarterdeck.machines.virtio_serial import VirtioSerialProtocol, VirtioSerialProtocolBuilder
from quarterdeck.testing.eventually import eventually

CHANNEL = "org.example.test"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def channel_to(directory: Path, script: Script) -> AsyncIterator[VirtioSerialProtocol]:
    """A channel at whose other end somebody follows `script`, and then goes away."""

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except ConnectionError:
            pass  # the test is over
        finally:
            writer.close()

    server = await asyncio.start_unix_server(follow, directory / "channel.sock")
    channel = VirtioSerialProtocolBuilder().with_channel(CHANNEL).with_timeout(0.05).build()
    endpoint = UnixEndpoint(str(directory / "channel.sock"))
    try:
        await channel.connect(Guest(name="vm1", channels={CHANNEL: endpoint}))
        yield channel
    finally:
        await channel.disconnect()
        server.close()


def _send(**asked: object) -> VirtioSend:
    return VirtioSend(channel=CHANNEL, **asked)  # type: ignore[arg-type]


async def test_next_whole_line_is_the_reply(socket_dir: Path) -> None:
    """S2-21F: in pieces, after a while longer than the channel's own patience, with another line behind it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b'{"a":"\xc3\xa4"}\n'
        await asyncio.sleep(0.2)
        for piece in (b'{"b": ', b"[1]}\nmore"):
            writer.write(piece)
            await writer.drain()
        await reader.read()

    async with channel_to(socket_dir, script) as channel:
        reply = await exchange(channel, _send(message={"a": "ä"}, reply_timeout_ms=20_000))

    assert reply == VirtioReply(message={"b": [1]})


async def test_what_lay_there_before_answers_nothing(socket_dir: Path) -> None:
    lies_there = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"stale\nand a ha")
        lies_there.set()
        await reader.readline()
        writer.write(b"fresh\n")
        await reader.read()

    async with channel_to(socket_dir, script) as channel:
        await lies_there.wait()
        reply = await exchange(channel, _send(text="hello", reply_timeout_ms=20_000))

    assert reply == VirtioReply(text="fresh")


async def test_nothing_is_waited_for_unless_it_is_wanted(socket_dir: Path) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.readline())
        await reader.read()

    async with channel_to(socket_dir, script) as channel:
        assert await exchange(channel, _send(message=None)) is None
        async with asyncio.timeout(20):
            assert await received == b"null\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "no line in return"), (b"no JSON\n", "no JSON"), (b"x" * 300_000, "more than")],
    ids=["none", "no_json", "endless"],
)
async def test_reply_that_is_none_is_a_failure_in_time(socket_dir: Path, answer: bytes, said: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async with channel_to(socket_dir, script) as channel:
        with pytest.raises(HandlerError, match=said) as failure:
            await exchange(channel, _send(message={}, reply_timeout_ms=500 if not answer else 20_000))

    assert (failure.value.reason, failure.value.unknown) == ("execution_failed", False)


async def test_guest_that_never_stops_writing_is_a_failure_in_time(socket_dir: Path) -> None:
    """S2-25F: and nothing was sent to it."""
    received: list[bytes] = []

    async def take(reader: asyncio.StreamReader) -> None:
        try:
            received.append(await reader.readline())
        except ConnectionError:
            received.append(b"")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taking = asyncio.create_task(take(reader))
        while not taking.done():
            writer.write(b"tick\n" * 10_000)
            await writer.drain()

    async with channel_to(socket_dir, script) as channel:
        with pytest.raises(HandlerError, match="does not stop writing"):
            async with asyncio.timeout(60):
                await exchange(channel, _send(message={}, reply_timeout_ms=500))
    await eventually(lambda: received == [b""])


async def test_channel_that_ends_midway_is_told(socket_dir: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with channel_to(socket_dir, script) as channel:
        with pytest.raises(ConnectionEnded):
            await exchange(channel, _send(message={}, reply_timeout_ms=20_000))
