"""Windows of the log into the store, a bounded piece at a time.

Owns what has to be remembered between pieces: stories that came before their beginning, and what children inherit from
their batch. Called by rebuilder.py and latecomers.py.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import msgspec
import structlog

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import shard_of
from quarterdeck.core import failpoints
from quarterdeck.core.bus import StoredMessage
from quarterdeck.core.clock import Clock
from quarterdeck.core.rebuild.fold import Event, Folding, Window, read_event
from quarterdeck.core.store import Store
from quarterdeck.core.store.births import spec_fields
from quarterdeck.core.store.restoring import BatchStory, CommandStory

log = structlog.get_logger()

_WINDOW_EVENTS: Final = 10_000
"""So many events are folded together: the bound of memory."""
_MOST_INHERITANCES: Final = 10_000
_PATIENCE_WINDOWS: Final = 2
"""An event that is stored before the beginning of its story is so by a moment, not by windows."""


class Restored(msgspec.Struct, kw_only=True):
    """What was read and written so far."""

    events: int = 0
    commands: int = 0
    """Stories of commands; one command may have several."""
    batches: int = 0
    sessions: int = 0
    """Stories of sessions."""
    dropped: int = 0
    """Stories whose beginning is not in the log any more."""


class Inheritance(msgspec.Struct, frozen=True):
    """What the children of a batch share, as hash fields."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, batch_id: str, batch: dict[str, Any]) -> "Inheritance":
        """`batch`: the fields of its hash."""
        spec: CommandSpec = msgspec.msgpack.decode(batch["spec"], type=CommandSpec)
        created_at_ms, user_id = int(batch["created_at_ms"]), batch["user_id"]
        return cls(
            {
                "user_id": user_id.decode() if isinstance(user_id, bytes) else user_id,
                "batch_id": batch_id,
                "updated_at_ms": created_at_ms,
                **spec_fields(spec, created_at_ms),
            }
        )


class Restore:
    """`token`: of the lease, or empty for open shards. `wanted`: which stories are of interest."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        shards: Iterable[int],
        token: str = "",
        wanted: Callable[[Event], bool] = lambda event: True,
    ) -> None:
        self.restored = Restored()
        self.highest_version = 0
        self._store = store
        self._clock = clock
        self._shards = frozenset(shards)
        self._token = token
        self._wanted = wanted
        self._folding = Folding(store.lifetimes)
        self._inheritances: OrderedDict[str, Inheritance] = OrderedDict()
        self._early: list[tuple[int, CommandStory]] = []
        """Stories without a beginning, and for how many more windows they are kept."""
        self._early_batches: list[tuple[int, BatchStory]] = []

    async def take(
        self, pages: AsyncIterator[list[StoredMessage]], on_progress: Callable[[Restored], None] | None = None
    ) -> None:
        """All of `pages`. Raises what reading and the store raise."""
        told: list[Event] = []
        async for messages in pages:
            self.restored.events += len(messages)
            told += [event for message in messages if (event := self._event(message)) is not None]
            if len(told) >= _WINDOW_EVENTS:
                await self._write(self._folding.fold(told))
                told = []
                failpoints.reach("rebuild.midway")
                if on_progress is not None:
                    on_progress(self.restored)
        if told:
            await self._write(self._folding.fold(told))
            failpoints.reach("rebuild.midway")
        if on_progress is not None:
            on_progress(self.restored)

    async def finish(self) -> None:
        """What still has no beginning never will."""
        await self._write(Window())
        lost = len(self._early) + len(self._early_batches)
        self._early, self._early_batches = [], []
        self.restored.dropped += lost
        if self.restored.dropped:
            log.info("rebuild.stories_without_beginning", stories=self.restored.dropped)

    def _event(self, message: StoredMessage) -> Event | None:
        event = read_event(message.body)
        if event is None:
            return None
        self.highest_version = max(self.highest_version, event.aggregateversion)
        return event if shard_of(event.subject) in self._shards and self._wanted(event) else None

    async def _write(self, window: Window) -> None:
        window = window.without_expired(self._clock.now_ms(), self._folding.lifetimes)
        for birth in window.births:
            self._inherit(birth.batch_id, Inheritance.of(birth.batch_id, birth.fields))
        await self._write_batches(window)
        await self._write_commands(window)
        await self._store.restore_sessions(self._token, list(window.sessions.values()))
        self.restored.sessions += len(window.sessions)

    async def _write_batches(self, window: Window) -> None:
        early, self._early_batches = self._early_batches, []
        moves = [(left, story) for left, story in early]
        moves += [(_PATIENCE_WINDOWS, story) for stories in window.batches.values() for story in stories]
        unknown = await self._store.restore_batches(self._token, window.births, [story for _, story in moves])
        self.restored.batches += len(window.births)
        self._early_batches = self._still_early([pair for pair in moves if pair[1].batch_id in unknown])

    async def _write_commands(self, window: Window) -> None:
        early, self._early = self._early, []
        stories = early + [(_PATIENCE_WINDOWS, story) for story in window.commands.values()]
        await self._find_inheritances(story.batch_id for _, story in stories)
        for _, story in stories:
            inherited = self._inheritances.get(story.batch_id or "")
            if inherited is not None and story.state is not None:
                story.birth = dict(inherited.fields)
        unknown = await self._store.restore_commands(self._token, [story for _, story in stories])
        self.restored.commands += len(stories) - len(unknown)
        self._early = self._still_early([pair for pair in stories if pair[1].command_id in unknown])

    def _still_early(self, pairs: list[Any]) -> list[Any]:
        kept = [(left - 1, story) for left, story in pairs if left > 0]
        self.restored.dropped += len(pairs) - len(kept)
        return kept

    async def _find_inheritances(self, batch_ids: Iterable[str | None]) -> None:
        """Of batches that were told about long ago, or lie before the horizon."""
        missing = {one for one in batch_ids if one is not None} - self._inheritances.keys()
        for batch_id, parts in (await self._store.batch_parts(sorted(missing))).items():
            self._inherit(batch_id, Inheritance.of(batch_id, dict(parts)))

    def _inherit(self, batch_id: str, inheritance: Inheritance) -> None:
        self._inheritances[batch_id] = inheritance
        if len(self._inheritances) > _MOST_INHERITANCES:
            self._inheritances.popitem(last=False)
