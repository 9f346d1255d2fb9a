"""Writes one output stream of one command attempt to the feed: contiguous, without duplicates, fenced.

One publish is in flight per subject, and each expects the sequence that the one before it got. So a second gateway that
writes the same stream (the agent moved while our last publish was under way) makes one of the two fail, never both
succeed. Whoever fails reads what is stored and goes on from there; nothing is ever repeated blindly.
Owns the order of bytes, their digest and their tail. Does not know links or reports; called by `link_output`.
Source: JetStream `Nats-Expected-Last-Subject-Sequence`, nats-server err_code 10071.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import structlog

from quarterdeck.contracts import streams
from quarterdeck.contracts.errors import DecodeError, Unavailable
from quarterdeck.contracts.limits import STORED_CHUNK_BYTES, TAIL_BYTES
from quarterdeck.contracts.output import AGENT_HEADER, OFFSET_HEADER, TIME_HEADER
from quarterdeck.core import failpoints
from quarterdeck.core.bus import Ack, Bus, BusError, Outgoing, StoredMessage, WrongLastSequence
from quarterdeck.gateway.output_pace import OutputPace
from quarterdeck.gateway.send_queue import StreamKey

log = structlog.get_logger()

_RETRY_S: Final = 0.5
"""Between looks at the store while the bus is away."""


class WriterContext(NamedTuple):
    """What all writers of one link share."""

    bus: Bus
    agent_id: str
    spawn: Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
    """Starts a task whose crash ends the link."""


class StreamWriter:
    """`on_change(writer)` is called after more was stored, and after the stored end became known."""

    __slots__ = (
        "_at_ms", "_closed", "_context", "_digest", "_early", "_gap_offset", "_in_flight", "_on_change", "_pace",
        "_queue", "_recovery", "_resting", "_sent_at_s", "_sequence", "ask_again", "counted_bytes", "end_offset",
        "key", "stored_bytes", "stored_offset", "subject", "tail",
    )  # fmt: skip

    def __init__(
        self,
        context: WriterContext,
        subject: str,
        key: StreamKey,
        on_change: Callable[["StreamWriter"], None],
    ) -> None:
        self.subject = subject
        self.key = key
        self.stored_bytes = 0
        """Stored by us."""
        self.stored_offset = 0
        """The bus has everything below."""
        self.end_offset = 0
        """We have everything below, stored or waiting."""
        self.ask_again = False
        """Set when bytes are missing: the agent must send again from stored_offset. The owner asks and clears it."""
        self.counted_bytes = 0
        """The owner's: what of `held_bytes` it has in its sum over all writers."""
        self.tail = b""
        self._context = context
        self._on_change = on_change
        self._sequence: int | None = None  # of the subject's last message; None: not known yet
        self._early: list[tuple[int, bytes, int]] = []  # chunks that came before the stored end was known
        self._queue: deque[bytes] = deque()
        self._in_flight: bytes | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._digest: hashlib._Hash | None = hashlib.sha256()
        self._gap_offset: int | None = None  # where the last chunk began that was dropped for a gap before it
        self._at_ms = 0
        self._pace = OutputPace()
        self._resting: asyncio.TimerHandle | None = None  # until the next publish, to let others through
        self._sent_at_s = 0.0
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Bytes that came and are not stored."""
        return self.end_offset - self.stored_offset + sum(len(chunk) for _, chunk, _ in self._early)

    @property
    def known(self) -> bool:
        """Whether we know how much the bus has."""
        return self._sequence is not None

    @property
    def digest(self) -> bytes:
        """SHA-256 over what we stored; empty when we did not store all of it ourselves."""
        return b"" if self._digest is None else self._digest.digest()

    def accept(self, offset: int, chunk: bytes, at_ms: int) -> None:
        """Take a chunk in: duplicates are dropped, a gap sets `ask_again`. Nothing is published before `pump`."""
        if self._sequence is None:
            if offset == 0 and not self._early and self._recovery is None:
                self._sequence = 0  # the first gateway of this stream: the fence tells if we are not
            else:
                self._early.append((offset, chunk, at_ms))
                self.look_up()
                return
        if offset > self.end_offset and not self._jump_gap(offset):
            return
        self._gap_offset = None
        known_bytes = self.end_offset - offset
        if known_bytes >= len(chunk):
            return
        fresh = chunk[known_bytes:] if known_bytes else chunk
        self._queue.append(fresh)
        self.end_offset += len(fresh)
        self._at_ms = at_ms

    def pump(self) -> None:
        """Publish what waits, unless a publish is under way. Called once per frame, so that its chunks go together."""
        if self._in_flight is not None or self._resting is not None or not self._queue:
            return
        if self._sequence is None or self._closed:
            return
        self._sent_at_s = asyncio.get_running_loop().time()
        self._in_flight = self._pack()
        headers = {
            OFFSET_HEADER: str(self.stored_offset),
            AGENT_HEADER: self._context.agent_id,
            TIME_HEADER: str(self._at_ms),
        }
        # No message id: the fence alone decides, and a dedupe entry per chunk would cost the server its memory.
        message = Outgoing(
            subject=self.subject,
            body=self._in_flight,
            headers=headers,
            expected_last_subject_sequence=self._sequence,
        )
        self._context.bus.publish_soon(message).add_done_callback(self._published)

    def look_up(self, *, after_s: float = 0.0) -> None:
        """Learn from the feed how much is stored; `on_change` follows. One look-up runs at a time."""
        if self._recovery is None and not self._closed:
            self._recovery = self._context.spawn(self._recover(after_s), f"output:{self.subject}")

    def close(self) -> None:
        """Forget what is not stored: the agent has it and will send it to whoever it meets next."""
        self._closed = True
        self._queue.clear()
        self._early.clear()
        if self._recovery is not None:
            self._recovery.cancel()
        if self._resting is not None:
            self._resting.cancel()

    def _pack(self) -> bytes:
        first = self._queue.popleft()
        if not self._queue or len(first) + len(self._queue[0]) > STORED_CHUNK_BYTES:
            return first
        parts, size_bytes = [first], len(first)
        while self._queue and size_bytes + len(self._queue[0]) <= STORED_CHUNK_BYTES:
            parts.append(self._queue.popleft())
            size_bytes += len(parts[-1])
        return b"".join(parts)

    def _published(self, future: "asyncio.Future[Ack]") -> None:
        # The exception is fetched in any case: asyncio complains of one that nobody looked at.
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if self._closed or isinstance(error, asyncio.CancelledError):
            return
        if error is not None:
            log.info("gateway.output_publish_refused", subject=self.subject, error=repr(error))
            self.look_up(after_s=0.0 if isinstance(error, WrongLastSequence) else _RETRY_S)
            return
        failpoints.reach("gateway.after_output_publish")
        body, self._in_flight = self._in_flight or b"", None
        self._sequence = future.result().sequence
        self._count_stored(body)
        self._rest(self._sequence, len(body))
        self.pump()
        self._on_change(self)

    def _rest(self, sequence: int, size_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        rest_s = self._pace.rest_s(
            sequence=sequence, size_bytes=size_bytes, now_s=now_s, took_s=now_s - self._sent_at_s
        )
        if rest_s:
            self._resting = loop.call_later(rest_s, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.pump()

    def _count_stored(self, body: bytes) -> None:
        self.stored_offset += len(body)
        self.stored_bytes += len(body)
        if self._digest is not None:
            self._digest.update(body)
        self.tail = body[-TAIL_BYTES:] if len(body) >= TAIL_BYTES else (self.tail + body)[-TAIL_BYTES:]

    async def _recover(self, after_s: float) -> None:
        """Ends with `_sequence` known and everything in flight accounted for."""
        await asyncio.sleep(after_s)
        self._reconcile(await self._last_message())
        self._recovery = None
        early, self._early = self._early, []
        for offset, chunk, at_ms in early:
            self.accept(offset, chunk, at_ms)
        self.pump()
        self._on_change(self)

    async def _last_message(self) -> StoredMessage | None:
        while True:
            try:
                return await self._context.bus.last_message(streams.FEED, self.subject)
            except (Unavailable, BusError) as error:
                log.warning("gateway.output_lookup_failed", subject=self.subject, error=error.message)
                await asyncio.sleep(_RETRY_S)

    def _reconcile(self, last: StoredMessage | None) -> None:
        """Move to where the store stands: drop what it has, keep what it lacks."""
        waiting = deque([self._in_flight, *self._queue] if self._in_flight is not None else self._queue)
        in_flight, self._in_flight = self._in_flight, None
        if last is None:
            # Never written, or trimmed since. A trimmed subject starts again at sequence 0, the offsets go on.
            first_look = self._sequence is None
            self._sequence, self._queue = 0, waiting
            if first_look and self._early:
                self._start_at(self._early[0][0])
            return
        start, stored_end = _offset_of(last), _offset_of(last) + len(last.body)
        self._sequence = last.sequence
        if stored_end <= self.stored_offset:
            if stored_end < self.stored_offset:
                log.error("gateway.output_lost_by_bus", subject=self.subject, stored_offset=stored_end)
                self._digest = None
            self._queue = waiting
            return
        if start == self.stored_offset and last.body == in_flight:
            waiting.popleft()
            self._queue = waiting
            self._count_stored(last.body)
            return
        # Another gateway wrote here: the bytes are the agent's own, but we cannot vouch for what it stored.
        log.info("gateway.output_taken_over", subject=self.subject, offset=stored_end)
        self._digest = None
        self.tail = last.body[-TAIL_BYTES:]
        self._queue = _without_first(waiting, stored_end - self.stored_offset)
        self.stored_offset = stored_end
        self.end_offset = stored_end + sum(map(len, self._queue))

    def _jump_gap(self, offset: int) -> bool:
        """Whether to go on at `offset` although bytes before it are missing.

        Not at first: the agent is asked to send again, and what it had sent before it heard of that is dropped. An
        agent that then begins behind the gap once more has freed those bytes, because the bus had stored them and lost
        them since: a hole remains, the digest is withheld, and the command's end will show that output was lost.
        """
        rewound = self._gap_offset is not None and offset <= self._gap_offset
        idle = self._in_flight is None and not self._queue
        if rewound and idle:
            log.warning(
                "gateway.output_hole", subject=self.subject, from_offset=self.end_offset, to_offset=offset
            )
            self._start_at(offset)
            return True
        if self._gap_offset is None or rewound:
            self.ask_again = True
        self._gap_offset = offset
        return False

    def _start_at(self, offset: int) -> None:
        if offset:
            self._digest = None
        self.stored_offset = self.end_offset = offset


def _offset_of(stored: StoredMessage) -> int:
    offset = stored.headers.get(OFFSET_HEADER, "")
    if not offset.isdigit():
        raise DecodeError(f"{stored.subject}: sequence {stored.sequence} has no offset")
    return int(offset)


def _without_first(chunks: deque[bytes], count: int) -> deque[bytes]:
    """`chunks` without their first `count` bytes; empty when `count` is more than they have."""
    rest: deque[bytes] = deque()
    for chunk in chunks:
        if count >= len(chunk):
            count -= len(chunk)
            continue
        rest.append(chunk[count:] if count > 0 else chunk)
        count = 0
    return rest
