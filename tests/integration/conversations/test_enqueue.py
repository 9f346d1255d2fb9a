"""A conversation's command: taken in once, with its event and its round, whoever asks how often."""

import asyncio
import uuid

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import failpoints, metrics
from quarterdeck.core.conversations import ConversationCommandService, MembersSerializer
from tests.integration.conversations.talk import TENANT, USER, Talk

CONCURRENT = 200
ROUND = "session.round_created"


async def test_the_documents_example_answers_as_the_document_says(talk: Talk) -> None:
    """S3-1, S3-2"""
    session = await talk.service.create_session(123)

    result = await talk.service.enqueue_command(
        123,
        uuid.UUID(session.session_id),
        command_type="CHARACTER_REQUEST",
        payload={"user_input": "创建一个勇敢的主角", "preferences": {"genre": "fantasy"}},
        idempotency_key=f"cmd-{uuid.uuid4()}",
    )

    assert result["success"]
    assert result["command"].id == result["command"].command_id
    assert result["command"].status == "RECEIVED"
    pending = await talk.service.get_pending_command(123, session.session_id)
    assert pending["success"]
    assert pending["command"]["command_id"] == result["command"].id
    assert pending["command"]["command_type"] == "CHARACTER_REQUEST"
    assert pending["command"]["payload"]["user_input"] == "创建一个勇敢的主角"


async def test_nothing_pending_is_a_command_without_an_id(talk: Talk) -> None:
    """S3-3"""
    session_id = await talk.session()
    assert await talk.service.get_pending_command(USER, session_id) == {
        "success": True,
        "command": {"command_id": None},
    }

    command = (await talk.ask(session_id))["command"]
    await talk.end(command.id)

    assert (await talk.service.get_pending_command(USER, session_id))["command"] == {"command_id": None}


async def test_the_domain_event_is_on_the_bus_with_the_documents_fields(talk: Talk) -> None:
    """S3-8, S3-9"""
    session_id = await talk.session()
    command = (await talk.ask(session_id))["command"]

    (event,) = await talk.told(ROUND)

    assert event["correlationid"] == command.id
    assert event["subject"] == session_id  # the key
    assert event["id"].startswith(session_id)  # the outbox entry's id
    assert event["data"]["aggregate_type"] == "Session"
    assert event["data"]["event_type"] == "Character.Session.Command.Received"
    assert event["data"]["payload"] == '{"user_input":"a hero"}'
    assert event["data"]["round"] == 1
    await talk.store.forget([])  # entries leave the outbox a moment after the bus has them: now
    assert await talk.store.left_over(range(64), older_than_ms=-10_000) == []


async def test_who_watches_a_command_hears_of_the_command_alone(talk: Talk) -> None:
    """S3-8: the session's versions are no versions of the command"""
    command = (await talk.ask(await talk.session()))["command"]

    seen = [
        subjects.parse_event(message.subject)
        async for messages in talk.bus.read(
            streams.FEED, list(subjects.watch_command(TENANT, None, command.id)), follow=False
        )
        for message in messages
    ]

    assert {event.entity for event in seen} == {"command"}


async def test_concurrent_requests_on_one_session_make_one_command(talk: Talk) -> None:
    """S3-5, S3-6, S3-7"""
    session_id = await talk.session()

    results = await asyncio.gather(*(talk.ask(session_id) for _ in range(CONCURRENT)))

    assert all(result["success"] for result in results)
    (command_id,) = {result["command"].id for result in results}
    assert await talk.store.rounds(session_id) == [(1, command_id)]
    assert [event["correlationid"] for event in await talk.told(ROUND)] == [command_id]
    assert [event["subject"] for event in await talk.told("command.accepted")] == [command_id]


async def test_concurrent_sessions_have_a_command_a_round_and_an_event_each(talk: Talk) -> None:
    """S3-7"""
    sessions = await asyncio.gather(*(talk.session() for _ in range(CONCURRENT)))

    for number in (1, 2):
        results = await asyncio.gather(*(talk.ask(session_id) for session_id in sessions))
        ids = {result["command"].id for result in results}
        assert len(ids) == CONCURRENT
        await asyncio.gather(*(talk.end(command_id) for command_id in ids))
        rounds = [await talk.store.rounds(session_id) for session_id in sessions]
        assert all([n for n, _ in one] == list(range(1, number + 1)) for one in rounds)

    events = await talk.told(ROUND)
    assert len(events) == 2 * CONCURRENT
    assert {(e["subject"], e["data"]["round"]) for e in events} == {(s, n) for s in sessions for n in (1, 2)}


async def test_the_event_of_a_writer_that_died_is_told_to_the_next_who_asks(talk: Talk) -> None:
    """S3-6, S3-7"""
    session_id = await talk.session()
    failpoints.arm("outbox.after_commit=fail")
    try:
        died = await talk.ask(session_id, idempotency_key="k")
    finally:
        failpoints.disarm()
    assert (died["success"], died["status"]) == (False, 500)
    assert await talk.told(ROUND) == []

    again = await talk.ask(session_id, idempotency_key="k")

    assert again["success"]
    (event,) = await talk.told(ROUND)
    assert event["correlationid"] == again["command"].id
    assert len(await talk.store.rounds(session_id)) == 1


async def test_a_key_answers_with_its_command_and_no_other_body(talk: Talk) -> None:
    """S3-5, S3-11"""
    session_id = await talk.session()
    first = await talk.ask(session_id, idempotency_key="k")
    await talk.end(first["command"].id)

    same = await talk.ask(session_id, idempotency_key="k")
    other = await talk.ask(session_id, idempotency_key="k", payload={"user_input": "a villain"})

    assert same["command"].id == first["command"].id
    assert same["command"].status == "COMPLETED"
    assert (other["success"], other["status"], other["code"]) == (False, 409, "session_conflict")


async def test_another_users_key_is_not_known(talk: Talk) -> None:
    """S3-4, S3-5: neither in their own session nor in the first user's"""
    mine, theirs = await talk.session(USER), await talk.session("bob")
    first = await talk.ask(mine, idempotency_key="k")

    own = await talk.ask(theirs, user="bob", idempotency_key="k")
    foreign = await talk.ask(mine, user="bob", idempotency_key="k")

    assert own["command"].id != first["command"].id
    assert (foreign["success"], foreign["status"]) == (False, 403)
    assert "command" not in foreign


@pytest.mark.parametrize(
    ("user", "asked", "status"),
    [
        ("bob", {}, 403),
        (USER, {"command_type": "a b"}, 400),
        (USER, {"payload": {"x": object()}}, 400),
        (USER, {"payload": {"x": "y" * 300_000}}, 400),
        (USER, {"idempotency_key": ""}, 400),
    ],
)
async def test_refusals_write_nothing(talk: Talk, user: str, asked: dict[str, object], status: int) -> None:
    """S3-4, S3-7, S3-11"""
    session_id = await talk.session()

    result = await talk.ask(session_id, user=user, **asked)

    assert (result["success"], result["status"]) == (False, status)
    assert result["error"]
    assert await talk.store.rounds(session_id) == []
    assert await talk.told(ROUND) == []


async def test_each_class_of_errors_is_logged_its_own_way(talk: Talk) -> None:
    """S3-11, S3-12"""
    session_id = await talk.session()
    await talk.ask(session_id, idempotency_key="k")

    with capture_logs() as logs:
        await talk.ask(session_id, user="bob")
        await talk.ask(session_id, command_type="")
        await talk.ask(session_id, idempotency_key="k", command_type="other")
        failpoints.arm("outbox.after_commit=fail")
        try:
            failed = await talk.ask(await _empty_session(talk))
        finally:
            failpoints.disarm()

    ours = {entry["event"]: entry for entry in logs if entry["event"].startswith("conversations.")}
    assert list(ours) == [
        "conversations.access_denied",
        "conversations.input_refused",
        "conversations.conflict",
        "conversations.storage_failed",
    ]
    assert ours["conversations.storage_failed"]["exc_info"] is not None
    assert "Please send it again" in failed["error"]


async def _empty_session(talk: Talk) -> str:
    session_id = str(uuid.uuid4())
    await talk.store.create_session(TENANT, session_id, USER, talk.clock.now_ms())
    return session_id


async def test_the_documents_log_points_are_logged_without_the_payload(talk: Talk) -> None:
    """S3-13"""
    session_id = await talk.session()

    with capture_logs() as logs:
        await talk.ask(session_id, idempotency_key="secret-key")

    names = [entry["event"] for entry in logs if "." not in entry["event"]]
    assert names == [
        "command_received",
        "access_verification",
        "idempotency_check",
        "command_created",
        "event_generated",
        "round_created",
    ]
    assert "a hero" not in repr(logs)
    assert "secret-key" not in repr(logs)


async def test_latency_transactions_hits_and_errors_are_measured(talk: Talk) -> None:
    """S3-14"""
    before = {name: _sample(name) for name in _SAMPLES}
    session_id = await talk.session()

    await talk.ask(session_id)
    await talk.ask(session_id)
    await talk.ask(session_id, user="bob")

    grown = {name: _sample(name) - before[name] for name in _SAMPLES}
    assert list(grown.values()) == [3, 2, 1, 1, 1]


_SAMPLES: dict[str, dict[str, str]] = {
    "session_command_latency_seconds_count": {},
    "session_transaction_seconds_count": {},
    "session_idempotency_checks_total:none": {"hit": "none"},
    "session_idempotency_checks_total:pending": {"hit": "pending"},
    "session_errors_total": {"kind": "access"},
}


def _sample(name: str) -> float:
    return metrics.REGISTRY.get_sample_value(name.partition(":")[0], _SAMPLES[name]) or 0.0


async def test_a_serializer_makes_what_is_answered(talk: Talk) -> None:
    """S3-10"""
    service = ConversationCommandService(
        talk.store, talk.relay, talk.clock, tenant=TENANT, serializer=MembersSerializer()
    )

    result = await service.enqueue_command(
        USER, await talk.session(), command_type="greet", payload={"who": "world"}
    )

    assert result["command"]["payload"] == {"who": "world"}
    assert result["command"]["round"] == 1


async def test_ends_show_as_completed_or_failed(talk: Talk) -> None:
    """S3-5: RECEIVED, PROCESSING, COMPLETED and FAILED are views of the command's state"""
    session_id = await talk.session()

    for end, status in ((CommandState.SUCCEEDED, "COMPLETED"), (CommandState.FAILED, "FAILED")):
        command = (await talk.ask(session_id))["command"]
        await talk.end(command.id, end)
        assert (await talk.service.command(USER, session_id, command.id)).status == status
