"""Watchers of batches over SSE: cut off by every kill, and by themselves at random; each resumes where it was."""

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import httpx_sse
import msgspec

from quarterdeck.contracts.output import OutputStream
from quarterdeck.testing.checker import Printed, Watched, compare
from tests.chaos.client import Client, Order
from tests.chaos.feed import Feed

_AGAIN_AFTER_S: Final = 0.3
_OUTSIDE_THE_LOG: Final = frozenset({"end", "resync", "snapshot", "message"})
"""`message` is what httpx-sse makes of a comment once an id was seen."""
_READ_TIMEOUT_S: Final = 20.0
"""A comment comes every 15 s: longer silence is a dead connection."""


class Watcher(msgspec.Struct, kw_only=True):
    """One client's memory of one batch."""

    batch_id: str
    last_event_id: str = ""
    sequences: list[int] = msgspec.field(default_factory=list)
    stdout: dict[tuple[str, int], bytearray] = msgspec.field(default_factory=dict)
    """By command and attempt."""
    connections: int = 0
    resyncs: int = 0
    gaps: int = 0
    ended: bool = False

    def take(self, event_id: str, kind: str, text: str) -> None:
        if kind == "end":
            self.ended = True
        if kind == "resync":
            self.resyncs += 1
            self.last_event_id = event_id or self.last_event_id
        if kind in _OUTSIDE_THE_LOG or not event_id:
            return
        self.last_event_id = event_id
        self.sequences.append(int(event_id.rpartition("-")[2]))
        if kind == "output":
            self._take_output(json.loads(text))

    def _take_output(self, chunk: dict[str, Any]) -> None:
        if chunk["stream"] != OutputStream.STDOUT:
            return
        whole = self.stdout.setdefault((chunk["command_id"], chunk["attempt"]), bytearray())
        if chunk["offset"] != len(whole):
            self.gaps += 1
        whole += base64.b64decode(chunk["data"])


class Gallery:
    """All watchers of a run."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._dice = random.Random(f"{seed}-watchers")
        self._watchers: list[Watcher] = []
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, batch_id: str) -> None:
        watcher = Watcher(batch_id=batch_id)
        self._watchers.append(watcher)
        self._tasks.append(asyncio.create_task(self._follow(watcher)))

    @contextlib.asynccontextmanager
    async def following(self, orders: list[Order], *, most: int, every_s: float) -> AsyncIterator[None]:
        """While the block runs, picks batches to watch: one about `every_s`, `most` in all."""
        picking = asyncio.create_task(self._pick(orders, most, every_s))
        try:
            yield
        finally:
            picking.cancel()
            await asyncio.gather(picking, return_exceptions=True)

    async def finish(self, within_s: float) -> None:
        """Waits for those that have not seen the end yet."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def evidence(self, feed: Feed, last_attempts: dict[str, int]) -> list[Watched]:
        """`last_attempts`: by command; earlier attempts' output is not held against the log."""
        return [
            Watched(
                batch_id=watcher.batch_id,
                sequences=tuple(watcher.sequences),
                feed_sequences=await feed.sequences_of_batch(watcher.batch_id),
                connections=watcher.connections,
                resyncs=watcher.resyncs,
                ended=watcher.ended,
                gaps=watcher.gaps,
                output=_last_outputs(watcher, last_attempts),
            )
            for watcher in self._watchers
        ]

    async def _pick(self, orders: list[Order], most: int, every_s: float) -> None:
        watched: set[str] = set()
        while len(watched) < most:
            await asyncio.sleep(every_s)
            batches = [
                order.answered_id for order in orders if order.is_batch and order.answered_id is not None
            ]
            fresh = [batch_id for batch_id in batches[-8:] if batch_id not in watched]
            if fresh:
                chosen = self._dice.choice(fresh)
                watched.add(chosen)
                self.watch(chosen)

    async def _follow(self, watcher: Watcher) -> None:
        while not watcher.ended:
            leaves_after = self._dice.choice((3, 10, 50, 10_000))
            try:
                await self._read(watcher, leaves_after)
            except (httpx.HTTPError, httpx_sse.SSEError):
                await asyncio.sleep(_AGAIN_AFTER_S)

    async def _read(self, watcher: Watcher, leaves_after: int) -> None:
        headers = {"Last-Event-ID": watcher.last_event_id} if watcher.last_event_id else {}
        async with httpx_sse.aconnect_sse(
            self._client.http,
            "GET",
            f"/api/batch_commands/{watcher.batch_id}/events",
            headers=headers,
            timeout=httpx.Timeout(8, read=_READ_TIMEOUT_S),
        ) as source:
            if source.response.status_code == 204:  # all was seen before
                watcher.ended = True
                return
            watcher.connections += 1
            async for event in source.aiter_sse():
                watcher.take(event.id, event.event, event.data)
                leaves_after -= 1
                if watcher.ended or leaves_after <= 0:
                    return


def _last_outputs(watcher: Watcher, last_attempts: dict[str, int]) -> dict[str, Printed]:
    return {
        command_id: compare(bytes(whole), bytes(whole))
        for (command_id, attempt), whole in watcher.stdout.items()
        if last_attempts.get(command_id) == attempt
    }
