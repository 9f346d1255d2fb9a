"""One key-value bucket as a typed table: reads, fenced writes, and a copy in memory that follows it.

Owns the encoding and the meaning of KV headers. Speaks to the bucket's stream through the bus alone, so it has the
bus's retries, and its watch is Bus.read: gap-free and surviving restarts. Source: nats-server ADR-8.

nats-py's own KeyValue is not used: docs/adr/0007-one-client-per-connection.md.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog
from nats.nuid import NUID

from quarterdeck.contracts import codec
from quarterdeck.contracts.errors import DecodeError, Unavailable
from quarterdeck.core.bus import (
    Bus,
    Deliver,
    Outgoing,
    StoredMessage,
    StreamNotFound,
    StreamReplaced,
    WrongLastSequence,
)
from quarterdeck.core.bus.messages import MSG_ID
from quarterdeck.core.bus.streams import bucket_stream, bucket_subject
from quarterdeck.core.registry.errors import AlreadyExists, Conflict

log = structlog.get_logger()

T = TypeVar("T")

_OPERATION: Final = "KV-Operation"
_MARKER_REASON: Final = "Nats-Marker-Reason"
"""On markers that the server itself places when a key expires."""
_DELETED: Final = "DEL"
_PAUSE_S: Final = 0.2


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A value with the revision it was written at and the server's time of that."""

    value: T
    revision: int
    at_ms: int


class Table(Generic[T]):
    """One bucket. `kind`: a contracts struct, or a union of tagged ones."""

    def __init__(self, bus: Bus, bucket: str, kind: Any) -> None:
        self.bucket = bucket
        self.incarnation = 0
        """Unix seconds at which the bucket was created; 0 before `watch`."""
        self._bus = bus
        self._stream = bucket_stream(bucket)
        self._decoder: codec.Decoder[T] = codec.Decoder(kind)
        self._nuid = NUID()
        self._current: dict[str, Entry[T]] = {}
        self._created_ms = 0
        self._applied = 0
        """Highest revision that `current` accounts for."""
        self._callbacks: list[Callable[[str, Entry[T] | None], None]] = []
        self._loaded = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    @property
    def current(self) -> Mapping[str, Entry[T]]:
        """All keys as of the last change heard. Filled by `watch`."""
        return self._current

    def on_change(self, callback: Callable[[str, Entry[T] | None], None]) -> None:
        """Call `callback(key, entry)` for every change from now on, the initial load included; None: deleted."""
        self._callbacks.append(callback)

    async def get(self, key: str) -> Entry[T] | None:
        """From the server. Raises Unavailable, DecodeError."""
        message = await self._bus.last_message(self._stream, self._subject(key))
        return None if message is None else self._entry(message)

    async def put(self, key: str, value: T) -> int:
        """Write whatever was there before. Returns the revision."""
        return (await self._bus.publish(self._outgoing(key, value))).sequence

    async def put_many(self, items: Sequence[tuple[str, T]]) -> list[int]:
        """`put` of all (key, value) pairs in one burst. Returns their revisions."""
        acks = await self._bus.publish_many([self._outgoing(key, value) for key, value in items])
        return [ack.sequence for ack in acks]

    async def create(self, key: str, value: T) -> int:
        """Write where there is nothing. Raises AlreadyExists."""
        try:
            return await self._fenced(key, value, 0)
        except WrongLastSequence:
            marker = await self._bus.last_message(self._stream, self._subject(key))
        if marker is not None and not _is_deletion(marker):
            raise AlreadyExists(self.bucket, key)
        try:
            # What is in the way is the mark of a deletion: replace exactly that one.
            return await self._fenced(key, value, marker.sequence if marker is not None else 0)
        except WrongLastSequence:
            raise AlreadyExists(self.bucket, key) from None

    async def update(self, key: str, value: T, revision: int) -> int:
        """Write over exactly `revision`. Raises Conflict."""
        try:
            return await self._fenced(key, value, revision)
        except WrongLastSequence as error:
            raise Conflict(self.bucket, key, revision, error.actual) from error

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Mark as deleted, with `revision` only if that is the last one. Raises Conflict."""
        outgoing = Outgoing(
            self._subject(key),
            b"",
            msg_id=self._nuid.next().decode(),
            headers={_OPERATION: _DELETED},
            expected_last_subject_sequence=revision,
        )
        try:
            await self._publish_fenced(outgoing)
        except WrongLastSequence as error:
            raise Conflict(self.bucket, key, revision or 0, error.actual) from error

    async def watch(self) -> None:
        """Fill `current` and keep it so until `close`. Returns when the initial state is loaded.

        Waits for the bucket and the connection if need be. Callable several times.
        """
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow(), name=f"registry-{self.bucket}")
        loaded = asyncio.create_task(self._loaded.wait())
        try:
            await asyncio.wait([loaded, self._follower], return_when=asyncio.FIRST_COMPLETED)
        finally:
            loaded.cancel()
        if self._follower.done():
            await self._follower

    async def close(self) -> None:
        """Stop watching; `current` stays as it is."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            self._follower = None

    def _subject(self, key: str) -> str:
        return bucket_subject(self.bucket, key)

    def _outgoing(self, key: str, value: T) -> Outgoing:
        return Outgoing(self._subject(key), codec.encode(value))

    async def _fenced(self, key: str, value: T, revision: int) -> int:
        outgoing = Outgoing(
            self._subject(key),
            codec.encode(value),
            msg_id=self._nuid.next().decode(),
            expected_last_subject_sequence=revision,
        )
        return await self._publish_fenced(outgoing)

    async def _publish_fenced(self, outgoing: Outgoing) -> int:
        """The sequence it was stored at. Raises WrongLastSequence when somebody else was quicker.

        When the acknowledgement of the first try was lost, the retry finds our own message in its way.
        """
        try:
            return (await self._bus.publish(outgoing)).sequence
        except WrongLastSequence:
            last = await self._bus.last_message(self._stream, outgoing.subject)
            if last is not None and last.headers.get(MSG_ID) == outgoing.msg_id:
                return last.sequence
            raise

    def _entry(self, message: StoredMessage) -> Entry[T] | None:
        if _is_deletion(message):
            return None
        return Entry(self._decoder.decode(message.body), message.sequence, message.at_ms)

    async def _follow(self) -> None:
        """Load, follow, and begin anew when the bucket was replaced or is not there yet."""
        while True:
            try:
                start_sequence = await self._load()
                self._loaded.set()
                async for messages in self._read(follow=True, start_sequence=start_sequence):
                    self._apply(messages)
            except (StreamReplaced, StreamNotFound, Unavailable) as error:
                log.warning("registry.watch_interrupted", bucket=self.bucket, reason=error.message)
                await asyncio.sleep(_PAUSE_S)

    async def _load(self) -> int:
        """Bring `current` to what the bucket holds, as changes. Returns the sequence to follow from."""
        facts = await self._bus.stream_info(self._stream)
        if facts.created_ms != self._created_ms or facts.last_sequence < self._applied:
            self._applied = 0
        self._created_ms = facts.created_ms
        self.incarnation = facts.created_ms // 1000
        seen: set[str] = set()
        before = set(self._current)
        async for messages in self._read(follow=False, deliver=Deliver.LAST_PER_SUBJECT):
            seen.update(self._key(message) for message in messages)
            self._apply(messages)
        for key in before - seen:
            self._set(key, None)
        return facts.last_sequence + 1

    def _read(
        self, *, follow: bool, start_sequence: int | None = None, deliver: Deliver = Deliver.ALL
    ) -> AsyncIterator[list[StoredMessage]]:
        return self._bus.read(
            self._stream, [self._subject(">")], start_sequence=start_sequence, deliver=deliver, follow=follow
        )

    def _key(self, message: StoredMessage) -> str:
        return message.subject.removeprefix(self._subject(""))

    def _apply(self, messages: list[StoredMessage]) -> None:
        for message in messages:
            if message.sequence <= self._applied:  # the load was ahead of where following began
                continue
            self._applied = message.sequence
            try:
                self._set(self._key(message), self._entry(message))
            except DecodeError as error:
                log.error(
                    "registry.entry_undecodable", bucket=self.bucket, key=self._key(message), error=str(error)
                )

    def _set(self, key: str, entry: Entry[T] | None) -> None:
        if entry is None:
            if self._current.pop(key, None) is None:
                return
        else:
            self._current[key] = entry
        for callback in self._callbacks:
            try:
                callback(key, entry)
            except Exception:
                log.exception("registry.callback_failed", bucket=self.bucket)


def _is_deletion(message: StoredMessage) -> bool:
    return _OPERATION in message.headers or _MARKER_REASON in message.headers
