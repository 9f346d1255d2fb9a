"""Learns from the tenant's event stream when commands and batches ended, as a console or a CI job would."""

import asyncio
import time
from typing import Self

import msgspec

from tests.benchmarks.client.events import EventStream
from tests.benchmarks.client.http import Endpoint

_ENDS = (b'"type":"command.completed"', b'"type":"batch.completed"')


class _Ended(msgspec.Struct):
    state: str


class _Event(msgspec.Struct):
    """What is read of a CloudEvent."""

    subject: str
    data: _Ended


_decode = msgspec.json.Decoder(_Event).decode


class UnexpectedEnd(Exception):
    """A command or batch ended in another state than the benchmark expects: its figure would mean nothing."""


class Completions:
    """One watcher of `/api/events`. Knows the end of everything that ended since it was opened."""

    def __init__(self) -> None:
        self._stream: EventStream | None = None
        self._seen_s: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[float]] = {}
        self._failure: UnexpectedEnd | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        completions = cls()
        completions._stream = await EventStream.open(endpoint, "/api/events?from=now", completions._take)
        return completions

    async def seen_s(self, subject_id: str, timeout_s: float = 60.0) -> float:
        """When (time.perf_counter) the end of this command or batch was seen; waits for it.

        Raises UnexpectedEnd for any end but success, TimeoutError.
        """
        if self._failure is not None:
            raise self._failure
        seen_s = self._seen_s.pop(subject_id, None)
        if seen_s is None:
            waiting: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self._waiting[subject_id] = waiting
            async with asyncio.timeout(timeout_s):
                seen_s = await waiting
        return seen_s

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _take(self, event: bytes) -> None:
        if not any(end in event for end in _ENDS):
            return
        now_s = time.perf_counter()
        decoded = _decode(event[event.index(b"{") :])
        waiting = self._waiting.pop(decoded.subject, None)
        if decoded.data.state not in {"succeeded", "COMPLETED_SUCCESSFULLY"}:
            self._failure = UnexpectedEnd(f"{decoded.subject} ended {decoded.data.state}")
            if waiting is not None and not waiting.done():
                waiting.set_exception(self._failure)
        elif waiting is None:
            self._seen_s[decoded.subject] = now_s
        elif not waiting.done():
            waiting.set_result(now_s)
