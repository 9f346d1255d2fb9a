"""The pieces of the conversation service, each by itself."""

from typing import Any, cast

import msgspec
import pytest

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import (
    IdempotencyConflict,
    InvalidInput,
    NotConfirmed,
    PayloadTooLarge,
    QuarterdeckError,
    Unavailable,
)
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.sessions import SessionCommandStatus, domain_event_name
from quarterdeck.contracts.states import TERMINAL, CommandState
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.conversations import MembersSerializer, SessionCommand, SessionRefused
from quarterdeck.core.conversations.access import ConversationAccessControl
from quarterdeck.core.conversations.error_handler import ConversationErrorHandler
from quarterdeck.core.conversations.event_handler import ConversationEventHandler
from quarterdeck.core.conversations.requests import SessionRequest
from quarterdeck.core.conversations.rounds import ConversationRoundCreationService
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import (
    CommandView,
    Enqueued,
    NewRound,
    OutboxEntry,
    SessionView,
    Standing,
    Store,
)

S = CommandState


def a_request(**more: Any) -> SessionRequest:
    asked = {"command_type": "greet", "payload": {"b": 1, "a": 2}, "idempotency_key": "k", **more}
    return SessionRequest.of(tenant="t", user_id="u", session_id=new_id(), **asked)


def a_session(**more: Any) -> SessionView:
    members: dict[str, Any] = {
        "session_id": new_id(),
        "tenant": "t",
        "owner": "u",
        "created_at_ms": 1,
        "updated_at_ms": 1,
        "rounds": 0,
        "newest_command_id": None,
        **more,
    }
    return SessionView(**members)


class ShakyStore:
    """Away for a while, then there."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked: list[NewRound] = []

    async def enqueue(self, new: NewRound) -> Enqueued:
        self.asked.append(new)
        if len(self.asked) <= self.failures:
            raise Unavailable("redis: away")
        return Enqueued(standing=Standing.NEW, command_id=new.command_id, round=1, entries=[])


class OneSession:
    def __init__(self, session: SessionView) -> None:
        self._session = session

    async def session(self, tenant: str, session_id: str) -> SessionView | None:
        return (
            self._session
            if (tenant, session_id) == (self._session.tenant, self._session.session_id)
            else None
        )


class Published:
    def __init__(self) -> None:
        self.entries: list[OutboxEntry] = []

    async def publish(self, entries: list[OutboxEntry], *, subject_id: str = "") -> None:
        self.entries += entries


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidInput("x: wrong", field="x"), 400, "validation"),
        (PayloadTooLarge("payload: big", field="payload"), 400, "validation"),
        (IdempotencyConflict("key", field="idempotency_key"), 409, "concurrency"),
        (Unavailable("redis: away"), 500, "storage"),
        (NotConfirmed("id"), 500, "storage"),
        (QuarterdeckError("what"), 500, "storage"),
    ],
)
def test_the_error_handler_knows_four_classes(error: QuarterdeckError, status: int, kind: str) -> None:
    """S3-11, S3-12, S3-15"""
    with pytest.raises(SessionRefused) as refused, ConversationErrorHandler().handling("s", "u"):
        raise error

    assert (refused.value.status, refused.value.kind) == (status, kind)
    assert "redis" not in refused.value.message
    assert refused.value.__cause__ is error


async def test_access_is_decided_in_one_place() -> None:
    """S3-4, S3-15"""
    session = a_session()
    access = ConversationAccessControl(cast(Store, OneSession(session)))

    assert await access.verify_session_access("t", "u", session.session_id) is session
    for tenant, user, status in (("t", "v", 403), ("other", "u", 404)):
        with pytest.raises(SessionRefused) as refused:
            await access.verify_session_access(tenant, user, session.session_id)
        assert refused.value.status == status


async def test_the_event_handler_describes_the_event_and_waits_for_the_bus() -> None:
    """S3-8, S3-15"""
    published = Published()
    handler = ConversationEventHandler(cast(Relay, published))
    request, session = a_request(), a_session()

    told = handler.domain_event(request, session, "c1")
    entry = OutboxEntry(0, "1-1", "r", "subject", "id", b"")
    await handler.ensure([entry], "c1")

    assert (told["aggregate_type"], told["command_id"]) == ("Session", "c1")
    assert told["payload"] == '{"b":1,"a":2}'
    assert handler.accepted(request)["idempotency_key"] == "k"
    assert published.entries == [entry]


async def test_a_round_is_tried_again_under_the_same_id() -> None:
    """S3-15, S3-16"""
    store = ShakyStore(failures=2)
    rounds = ConversationRoundCreationService(
        cast(Store, store), ManualClock(), ConversationEventHandler(cast(Relay, Published()))
    )
    request = a_request()

    enqueued = await rounds.create(request, a_session(session_id=request.session_id))

    assert len(store.asked) == 3
    assert {new.command_id for new in store.asked} == {enqueued.command_id}


async def test_storage_that_stays_away_is_an_error() -> None:
    """S3-16"""
    store = ShakyStore(failures=99)
    rounds = ConversationRoundCreationService(
        cast(Store, store), ManualClock(), ConversationEventHandler(cast(Relay, Published()))
    )

    with pytest.raises(Unavailable):
        await rounds.create(a_request(), a_session())
    assert len(store.asked) == 3


def test_serializers_are_free_to_choose() -> None:
    """S3-10, S3-15"""
    command = SessionCommand.of(
        CommandView(
            command_id="c",
            tenant="t",
            user_id="u",
            agent_id="a1",
            spec=CommandSpec(command_type="greet", payload=b'{"who":"w"}'),
            state=S.SUCCEEDED,
            attempt=1,
            version=3,
            created_at_ms=0,
            updated_at_ms=0,
            deadline_at_ms=0,
            result='{"n":1}',
            sent_at_ms=1,
            session_id="s",
            round=4,
        )
    )

    members = MembersSerializer().serialize(command)

    assert members["payload"] == {"who": "w"}
    assert (members["status"], members["result"], members["round"]) == ("COMPLETED", {"n": 1}, 4)
    assert command.id == "c"


def test_the_same_request_written_differently_is_the_same_request() -> None:
    """S3-5"""
    one, same = a_request(), a_request(payload=msgspec.Raw(b'{ "a":2, "b":1 }'))

    assert one.body_hash == same.body_hash
    assert one.body_hash != a_request(command_type="other").body_hash
    assert one.idempotency != same.idempotency  # of another session
    assert a_request(idempotency_key=None).idempotency is None


@pytest.mark.parametrize("state", list(S))
def test_every_state_has_a_status_of_the_document(state: CommandState) -> None:
    """S3-5"""
    status = SessionCommandStatus.of(state)

    assert (status in {"COMPLETED", "FAILED"}) == (state in TERMINAL)


def test_event_names_have_the_scope_of_their_command() -> None:
    """S3-8"""
    assert domain_event_name("CHARACTER_REQUEST") == "Character.Session.Command.Received"
    assert domain_event_name("greet") == "Greet.Session.Command.Received"
    assert domain_event_name("__") == "Command.Session.Command.Received"
