"""When a scope is over and everything of it was told, so that a stream may end instead of idling for ever.

A command is over with its `command.completed`. A batch's own end may overtake its children's in the feed, because two
writers publish them: it is over when every child's end was told too.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quarterdeck.broadcaster.handlers.scopes import Kind, Scope
from quarterdeck.contracts import subjects
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, StoredMessage

_GRACE_S: Final = 10.0
"""How long after a batch's end its children's may be missing: a writer that died in between is swept by then."""


class _BatchData(msgspec.Struct):
    total: int = 0


class _BatchEnd(msgspec.Struct):
    data: _BatchData


class _CommandData(msgspec.Struct):
    stdout_truncated: int = 0
    stderr_truncated: int = 0


class _CommandEnd(msgspec.Struct):
    data: _CommandData


class _Farewell(msgspec.Struct, omit_defaults=True):
    """Data of the `end` frame."""

    truncated_bytes: dict[str, int] = {}
    """By stream, what a command printed beyond its limit of kept output. Children of a batch tell it one by one."""


_decode_end = msgspec.json.Decoder(_BatchEnd).decode
_decode_command_end = msgspec.json.Decoder(_CommandEnd).decode


class Ending:
    """Of one hub. `from_start`: the hub reads the scope from its first message, so it sees every child's end."""

    def __init__(self, bus: Bus, scope: Scope, *, from_start: bool, on_known: Callable[[], None]) -> None:
        self._bus = bus
        self._scope = scope
        self._end_subject = scope.end_subject
        self._sees_all = from_start
        self._on_known = on_known
        self._end: StoredMessage | None = None
        self._children: set[str] = set()
        self._last_child_end = 0
        self._timer: asyncio.TimerHandle | None = None
        self.at: int | None = None
        """The scope is over once a watcher has everything up to this sequence; None: not over, or not known."""

    async def observe(self, messages: Sequence[StoredMessage]) -> None:
        """Messages of the scope as the hub reads them. Raises Unavailable."""
        if self._end_subject is None or self.at is not None:
            return
        for message in messages:
            if message.subject == self._end_subject:
                self._end = self._end or message
            elif self._scope.kind is Kind.BATCH:
                self._note_child(message)
        await self._settle()

    async def learn(self, end: StoredMessage | None) -> None:
        """`end`: the scope's end as the feed has it; the hub may have begun behind it. Raises Unavailable."""
        if end is not None and self.at is None:
            self._end = self._end or end
            await self._settle()

    async def assume(self) -> None:
        """The scope has ended, and a feed that was trimmed no longer says so: what it still has is all."""
        if self._end is not None or self.at is not None:
            return
        last_sequence = 0
        async for messages in self._bus.read(
            FEED, self._scope.filters, deliver="last_per_subject", follow=False
        ):
            last_sequence = messages[-1].sequence
        self.at = last_sequence
        self._on_known()

    @property
    def farewell(self) -> bytes:
        """What the `end` frame says, in JSON."""
        if self._end is None or self._scope.kind is not Kind.COMMAND:
            return b"{}"
        told = _decode_command_end(self._end.body).data
        lost = {"stdout": told.stdout_truncated, "stderr": told.stderr_truncated}
        return msgspec.json.encode(
            _Farewell(truncated_bytes={stream: count for stream, count in lost.items() if count})
        )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _settle(self) -> None:
        end = self._end
        if end is None:
            return
        if self._scope.kind is Kind.BATCH:
            total = _decode_end(end.body).data.total
            if len(self._children) < total and not self._sees_all:
                await self._read_children()
            if len(self._children) < total and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_GRACE_S, self._decide, end)
            if len(self._children) < total:
                return
        self._decide(end)

    def _decide(self, end: StoredMessage) -> None:
        if self.at is None:
            self.at = max(end.sequence, self._last_child_end)
            self._on_known()

    async def _read_children(self) -> None:
        self._sees_all = True
        filters = [subjects.ends_of_children(self._scope.tenant, self._scope.batch_id or "")]
        async for messages in self._bus.read(FEED, filters, deliver="last_per_subject", follow=False):
            for message in messages:
                self._note_child(message)

    def _note_child(self, message: StoredMessage) -> None:
        if subjects.is_output(message.subject):
            return
        subject = subjects.parse_event(message.subject)
        if subject.command_id is not None and subject.verb == "completed":
            self._children.add(subject.command_id)
            self._last_child_end = max(self._last_child_end, message.sequence)
