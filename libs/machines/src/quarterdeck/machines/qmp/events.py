"""Streams of a monitor's events: each bounded, each for one reader, each told when it missed some.

A monitor owns one EventStreams and ends it; the readers are callers of QmpProtocol.events.
"""

import asyncio
import weakref
from collections import deque
from typing import Final

import msgspec

from quarterdeck.machines.errors import MachineError
from quarterdeck.machines.qmp.messages import QmpEvent

CAPACITY: Final = 1_000
"""Events that wait for a slow reader; the oldest give way."""


class EventStream:
    """An async iterator of QmpEvent. Ends when the connection is closed; raises when the other side ended it."""

    def __init__(self) -> None:
        self._waiting: deque[QmpEvent] = deque()
        self._lost = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._failure: MachineError | None = None

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> QmpEvent:
        """Raises StopAsyncIteration, ConnectionEnded, ProtocolViolation."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event = self._waiting.popleft()
        if self._lost:
            event = msgspec.structs.replace(event, lost=self._lost)
            self._lost = 0
        return event

    def put(self, event: QmpEvent) -> None:
        """Called by EventStreams."""
        if len(self._waiting) >= CAPACITY:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        self._changed.set()

    def end(self, failure: MachineError | None) -> None:
        """What waits is still read; then `failure` is raised, if there is one. Called by EventStreams."""
        self._ended = True
        self._failure = failure
        self._changed.set()


class EventStreams:
    """The streams of one connection. A stream that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    def open(self) -> EventStream:
        """From now on."""
        stream = EventStream()
        self._streams.add(stream)
        return stream

    def put(self, event: QmpEvent) -> None:
        for stream in self._streams:
            stream.put(event)

    def end(self, failure: MachineError | None) -> None:
        for stream in self._streams:
            stream.end(failure)

    def __len__(self) -> int:
        return len(self._streams)
