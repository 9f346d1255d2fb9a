"""Gateways that all believe they hold the agent write one stream at the same time: never a gap, never a byte twice."""

import asyncio
import hashlib
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from quarterdeck.contracts import subjects
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.output import OFFSET_HEADER
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.gateway.send_queue import StreamKey
from quarterdeck.gateway.stream_writer import StreamWriter, WriterContext
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

CONTENT = random.Random(11).randbytes(600_000)


class Link:
    """One gateway's side of the stream, and the agent's side of that link: it sends from what was acknowledged."""

    def __init__(self, bus: Bus, subject: str, start: int) -> None:
        self.acknowledged = start
        self.sent = start
        self._tasks: set[asyncio.Task[None]] = set()
        self.writer = StreamWriter(
            WriterContext(bus, "a1", self._spawn), subject, StreamKey("c1", 1, pb.STDOUT), self._on_change
        )

    def send(self, size: int) -> None:
        """The next bytes of the stream, as one chunk; from the acknowledged offset when asked to send again."""
        if self.writer.ask_again:
            self.writer.ask_again = False
            self.sent = self.writer.stored_offset
        chunk = CONTENT[self.sent : self.sent + size]
        if chunk:
            self.writer.accept(self.sent, chunk, 1)
            self.writer.pump()
            self.sent += len(chunk)

    def _on_change(self, writer: StreamWriter) -> None:
        self.acknowledged = writer.stored_offset

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _stored(bus: Bus, subject: str) -> bytes:
    """The stream as it is stored; fails on a gap or a repetition."""
    whole = b""
    async for messages in bus.read(FEED, [subject], follow=False):
        for message in messages:
            assert int(message.headers[OFFSET_HEADER]) == len(whole), "a gap, or bytes that are there twice"
            whole += message.body
    return whole


@pytest.mark.parametrize("seed", range(6))
async def test_links_that_overlap_in_time_store_every_byte_once(bus: Bus, seed: int) -> None:
    """I4: links of before go on with what they had received, in any interleaving, while the newest one writes."""
    chance = random.Random(seed)
    subject = subjects.output("acme", None, new_id(), 1, "stdout")
    links = [Link(bus, subject, 0)]

    while links[-1].acknowledged < len(CONTENT):
        link = links[-1] if chance.random() < 0.6 else chance.choice(links)
        link.send(chance.choice([1, 700, 20_000, 64_000]))
        if chance.random() < 0.15 and len(links) < 5:
            links.append(Link(bus, subject, links[-1].acknowledged))
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
    await asyncio.sleep(0)

    assert hashlib.sha256(await _stored(bus, subject)).digest() == hashlib.sha256(CONTENT).digest()


async def test_a_writer_that_slept_over_the_end_of_its_stream_adds_nothing(bus: Bus) -> None:
    """I4: it wakes up with chunks in hand that another gateway has stored long ago."""
    subject = subjects.output("acme", None, new_id(), 1, "stdout")
    sleeper = Link(bus, subject, 0)
    sleeper.send(1_000)
    await eventually(lambda: sleeper.acknowledged == 1_000)
    mover = Link(bus, subject, 1_000)
    for _ in range(9):
        mover.send(1_000)
    await eventually(lambda: mover.acknowledged == 10_000)

    for _ in range(5):
        sleeper.send(1_000)
    await eventually(lambda: sleeper.acknowledged == 10_000)

    assert await _stored(bus, subject) == CONTENT[:10_000]
    assert sleeper.writer.digest == b"", "it cannot vouch for what another one stored"
