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
        self._seen: dict[str, float | UnexpectedEnd] = {}
        self._waiting: dict[str, asyncio.Future[float]] = {}

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        completions = cls()
        completions._stream = await EventStream.open(endpoint, "/api/events?from=now", completions._take)
        return completions

    async def seen_s(self, subject_id: str, timeout_s: float = 60.0) -> float:
        """When (time.perf_counter) the end of this command or batch was seen; waits for it.

        Raises UnexpectedEnd for any end but success, TimeoutError.
        """
        seen = self._seen.pop(subject_id, None)
        if seen is None:
            waiting: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self._waiting[subject_id] = waiting
            async with asyncio.timeout(timeout_s):
                return await waiting
        if isinstance(seen, UnexpectedEnd):
            raise seen
        return seen

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _take(self, event: bytes) -> None:
        if not any(end in event for end in _ENDS):
            return
        now_s = time.perf_counter()
        decoded = _decode(event[event.index(b"{") :])
        waiting = self._waiting.pop(decoded.subject, None)
        # What nobody here waits for may end as it likes: commands of earlier jobs reach their deadlines in ours.
        end: float | UnexpectedEnd = now_s
        if decoded.data.state not in {"succeeded", "COMPLETED_SUCCESSFULLY"}:
            end = UnexpectedEnd(f"{decoded.subject} ended {decoded.data.state}")
        if waiting is None:
            self._seen[decoded.subject] = end
        elif waiting.done():
            return
        elif isinstance(end, UnexpectedEnd):
            waiting.set_exception(end)
        else:
            waiting.set_result(end)
