"""What events mean for the state: events in, stories out. Pure; no NATS, no Redis.

The events of one window that are about one command become one story, its state the furthest that they tell. Owns the
reading of payloads; the writing is core/store's.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from quarterdeck.contracts import codec, events
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.states import BATCH_TERMINAL, RANK, TERMINAL, CommandState
from quarterdeck.core.store.births import spec_fields
from quarterdeck.core.store.restoring import (
    BatchBirth,
    BatchStory,
    Birth,
    CommandStory,
    Remembered,
    SessionStory,
)
from quarterdeck.core.store.scripts import OF_ONE_ATTEMPT, Lifetimes
from quarterdeck.core.store.shapes import Idempotency

log = structlog.get_logger()

_NO_FIELDS: Final = frozenset({"command_id", "batch_id", "state", "attempt", "agent_id", "guest"})
"""Members of a command's event that are no hash fields of their own."""
_OF_SESSION: Final = ("session_id", "round")
"""Members of `command.accepted` that are hash fields of a session's command."""


class Event(msgspec.Struct, frozen=True):
    """What we read of a CloudEvent."""

    id: str
    type: str
    subject: str
    time: str
    tenant: str
    aggregateversion: int
    data: msgspec.Raw

    @property
    def at_ms(self) -> int:
        return round(datetime.fromisoformat(self.time).timestamp() * 1000)

    @property
    def part(self) -> int:
        """See EventRecord.event_id."""
        numbers = self.id.removeprefix(f"{self.subject}-").split("-")
        return int(numbers[1]) if len(numbers) > 1 else 0


class _Verbatim(msgspec.Struct, frozen=True):
    result: msgspec.Raw = msgspec.Raw(b"")


_event = msgspec.json.Decoder(Event)
_verbatim = msgspec.json.Decoder(_Verbatim)


def read_event(body: bytes) -> Event | None:
    """None, and a line in the log, for what is no event of ours."""
    try:
        return _event.decode(body)
    except msgspec.DecodeError as error:
        log.warning("rebuild.event_undecodable", error=str(error))
        return None


class Window:
    """Some events of the log, as what they change."""

    def __init__(self) -> None:
        self.commands: dict[str, CommandStory] = {}
        self.batches: dict[str, list[BatchStory]] = {}
        self.births: list[BatchBirth] = []
        self.sessions: dict[str, SessionStory] = {}

    def without_expired(self, now_ms: int, lifetimes: Lifetimes) -> "Window":
        """Drops what began and ended within this window, so long ago that it would have been forgotten since."""
        gone = {
            batch_id
            for batch_id, stories in self.batches.items()
            if (ended_ms := _ended_at(stories)) and ended_ms + lifetimes.batch_ttl_s * 1000 < now_ms
        } & {birth.batch_id for birth in self.births if not _kept(birth.idempotency, now_ms)}
        self.births = [birth for birth in self.births if birth.batch_id not in gone]
        self.batches = {one: stories for one, stories in self.batches.items() if one not in gone}
        # A session lives on for its time after the end of its last command, which may have taken a while, too.
        session_ttl_ms = 2 * lifetimes.session_ttl_s * 1000
        self.sessions = {
            one: story for one, story in self.sessions.items() if story.at_ms + session_ttl_ms > now_ms
        }
        self.commands = {
            one: story
            for one, story in self.commands.items()
            if story.batch_id not in gone
            and not (
                story.batch_id is None
                and story.birth is not None
                and story.state in TERMINAL
                and story.fields["updated_at_ms"] + _ttl_ms(story.birth, lifetimes) < now_ms
                and not _kept(story.idempotency, now_ms)
            )
        }
        return self


class Folding:
    """Events to windows. Remembers the parts of batches whose creation was not told to the end yet."""

    def __init__(self, lifetimes: Lifetimes) -> None:
        self.lifetimes = lifetimes
        self._parts: dict[str, dict[int, Event]] = {}

    def fold(self, told: Iterable[Event]) -> Window:
        """`told`: in any order."""
        window = Window()
        for event in sorted(told, key=lambda event: event.aggregateversion):
            try:
                self._take(window, event)
            except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
                log.warning(
                    "rebuild.event_not_understood", event_id=event.id, type=event.type, error=repr(error)
                )
        return window

    def _take(self, window: Window, event: Event) -> None:
        entity = event.type.partition(".")[0]
        if event.type == events.BATCH_CREATED:
            parts = self._parts.setdefault(event.subject, {})
            parts[event.part] = event
            if (birth := _batch_birth(parts, self.lifetimes)) is not None:
                window.births.append(birth)
                del self._parts[event.subject]
        elif entity == events.BATCH:
            window.batches.setdefault(event.subject, []).append(_batch_story(event))
        elif entity == events.SESSION:
            _take_session(window, event)
        elif entity == events.COMMAND:
            story = _command_story(event, self.lifetimes)
            before = window.commands.get(event.subject)
            window.commands[event.subject] = story if before is None else _continued(before, story)


def _command_story(event: Event, lifetimes: Lifetimes) -> CommandStory:
    told: dict[str, Any] = msgspec.json.decode(event.data)
    at_ms = event.at_ms
    story = CommandStory(
        command_id=event.subject,
        tenant=event.tenant,
        batch_id=told.get("batch_id"),
        agent_id=told.get("agent_id", ""),
        guest=told.get("guest"),
        version=event.aggregateversion,
        attempt=told.get("attempt", 1),
        state=told.get("state"),
        fields={},
    )
    if event.type == events.COMMAND_ACCEPTED:
        spec = _spec(told["spec"])
        story.birth = {
            "user_id": told.get("user_id", ""),
            "spec": codec.encode(spec),
            "updated_at_ms": at_ms,
            **spec_fields(spec, at_ms),
            **{name: told[name] for name in _OF_SESSION if name in told},
        }
        story.idempotency = _remembered(told, event.tenant, at_ms, lifetimes)
    elif event.type == events.COMMAND_OUTPUT_LOST:
        story.fields = {f"{told['stream']}_lost": f"{told['from_offset']}-{told['to_offset']}"}
    elif story.state is not None:
        story.fields = {name: value for name, value in told.items() if name not in _NO_FIELDS}
        story.fields.setdefault("updated_at_ms", at_ms)
        if "result" in told:
            story.fields["result"] = bytes(_verbatim.decode(event.data).result)
        if event.type == events.COMMAND_ATTEMPT_FAILED:
            story.state, story.attempt = CommandState.PENDING, story.attempt + 1
            story.fields = {n: v for n, v in story.fields.items() if n not in OF_ONE_ATTEMPT}
    return story


def _continued(before: CommandStory, story: CommandStory) -> CommandStory:
    """`before` with what `story` adds; stories come in the order of their versions."""
    before.version = max(before.version, story.version)
    before.birth = before.birth or story.birth
    before.idempotency = before.idempotency or story.idempotency
    if story.state is None:
        if story.attempt == before.attempt:
            before.fields |= _gaps_of_both(before.fields, story.fields)
        return before
    if before.state is None or _standing(story) > _standing(before):
        old = before.fields if story.attempt == before.attempt else {}
        before.fields = {**old, **story.fields}
        before.state, before.attempt, before.agent_id = story.state, story.attempt, story.agent_id
    elif story.attempt == before.attempt:
        before.fields = {**story.fields, **before.fields}
    return before


def _gaps_of_both(before: dict[str, Any], gap: dict[str, Any]) -> dict[str, Any]:
    """`gap`, added to the gaps that were told of its stream before: each has an event of its own."""
    return {name: f"{before[name]},{part}" if name in before else part for name, part in gap.items()}


def _standing(story: CommandStory) -> tuple[int, int]:
    """The order of truth."""
    return story.attempt, -1 if story.state is None else RANK[CommandState(story.state)]


def _batch_birth(parts: dict[int, Event], lifetimes: Lifetimes) -> BatchBirth | None:
    """None while parts are missing."""
    told = {part: msgspec.json.decode(event.data) for part, event in parts.items()}
    first = told.get(0)
    if first is None or len(told) < first.get("parts", 1):
        return None
    in_order = [told[part] for part in sorted(told)]
    targets = tuple(target for piece in in_order for target in piece.get("targets", ()))
    event, spec = parts[0], _spec(first["spec"])
    fields = {
        "tenant": event.tenant,
        "user_id": first.get("user_id", ""),
        "spec": codec.encode(spec),
        "targets": codec.encode(targets),
        "original_request": "".join(piece.get("original_request", "") for piece in in_order).encode(),
        "created_at_ms": event.at_ms,
        "updated_at_ms": event.at_ms,
        **({"execution_alias": first["execution_alias"]} if first.get("execution_alias") else {}),
    }
    remembered = _remembered(first, event.tenant, event.at_ms, lifetimes)
    return BatchBirth(event.subject, event.tenant, len(targets), fields, remembered)


def _batch_story(event: Event) -> BatchStory:
    told: dict[str, Any] = msgspec.json.decode(event.data)
    return BatchStory(
        event.subject,
        event.aggregateversion,
        told["state"],
        event.at_ms,
        event.type == events.BATCH_TERMINATING,
    )


def _take_session(window: Window, event: Event) -> None:
    told: dict[str, Any] = msgspec.json.decode(event.data)
    created_at_ms = told.get("session_created_at_ms", event.at_ms)
    story = window.sessions.setdefault(
        event.subject, SessionStory(event.subject, event.tenant, told["owner"], created_at_ms, 0, 0, [])
    )
    story.version = max(story.version, event.aggregateversion)
    story.at_ms = max(story.at_ms, event.at_ms)
    if event.type == events.SESSION_ROUND_CREATED:
        story.rounds.append((told["round"], told["command_id"]))


def _ttl_ms(birth: Birth, lifetimes: Lifetimes) -> int:
    """As prelude.lua's `lifetime`, of what belongs to no batch."""
    return (lifetimes.idempotency_ttl_s if "session_id" in birth else lifetimes.command_ttl_s) * 1000


def _ended_at(stories: Iterable[BatchStory]) -> int:
    return max((story.at_ms for story in stories if story.state in BATCH_TERMINAL), default=0)


def _remembered(told: dict[str, Any], tenant: str, at_ms: int, lifetimes: Lifetimes) -> Remembered | None:
    if not told.get("idempotency_key"):
        return None
    known = Idempotency.of(
        tenant,
        told.get("user_id", ""),
        told["idempotency_key"],
        told.get("body_hash", ""),
        session_id=told.get("session_id"),
    )
    return known.scope, known.body_hash, at_ms + lifetimes.idempotency_ttl_s * 1000


def _kept(remembered: Remembered | None, now_ms: int) -> bool:
    return remembered is not None and remembered[2] > now_ms


def _spec(document: dict[str, Any]) -> CommandSpec:
    """The way back from event_payloads.spec_document."""
    return msgspec.convert({**document, "payload": document["payload"].encode()}, CommandSpec)
