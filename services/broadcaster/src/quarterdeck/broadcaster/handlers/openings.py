"""Where a watcher begins: after which sequence, and whether a snapshot comes first. Pure."""

from enum import StrEnum

import msgspec

from quarterdeck.broadcaster.handlers.event_ids import parse_event_id
from quarterdeck.broadcaster.handlers.scopes import Kind, Scope
from quarterdeck.contracts.errors import InvalidEventId, InvalidInput
from quarterdeck.core.bus import StreamFacts


class Prologue(StrEnum):
    """What is sent before the feed."""

    NOTHING = "nothing"
    """The watcher has all that was before."""
    SNAPSHOT = "snapshot"
    RESYNC = "resync"
    """What the watcher has cannot be continued: it starts over from here."""


class Opening(msgspec.Struct, frozen=True):
    """`after`: the last sequence of the feed that the watcher does not get."""

    after: int
    prologue: Prologue
    with_history: bool
    """The scope's past follows, so the snapshot need not tell all of it."""


def open_at(scope: Scope, facts: StreamFacts, *, last_event_id: str | None, begin: str | None) -> Opening:
    """`facts`: of the feed, taken before any snapshot is read; `begin`: `now` or `start`, None for the scope's own way.

    A command or a batch is told from its first event, so that who sends and then watches misses nothing; a tenant,
    whose past is long, from now. Raises InvalidEventId, InvalidInput.
    """
    if last_event_id is not None:
        return _resume(facts, last_event_id)
    if begin not in (None, "now", "start"):
        raise InvalidInput("from: expected now or start", field="from", value=begin)
    from_now = begin == "now" or (begin is None and scope.kind is Kind.TENANT)
    if from_now:
        return Opening(facts.last_sequence, Prologue.SNAPSHOT, with_history=False)
    return Opening(0, Prologue.SNAPSHOT, with_history=True)


def _resume(facts: StreamFacts, last_event_id: str) -> Opening:
    seen = parse_event_id(last_event_id)
    resync = Opening(facts.last_sequence, Prologue.RESYNC, with_history=False)
    if seen.incarnation != facts.created_ms:
        return resync
    if seen.sequence > facts.last_sequence:
        raise InvalidEventId(
            "Last-Event-ID: no event has this id yet", field="Last-Event-ID", value=last_event_id
        )
    if seen.sequence + 1 < facts.first_sequence:
        return resync
    return Opening(seen.sequence, Prologue.NOTHING, with_history=False)
