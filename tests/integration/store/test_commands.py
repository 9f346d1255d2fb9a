"""Taking commands in, idempotency, retries, deadlines, the outbox, TTLs."""

import asyncio
import time

import msgspec
import pytest

from quarterdeck.contracts.commands import CommandSpec, Retry, TimeoutClock
from quarterdeck.contracts.errors import IdempotencyConflict, InvalidCursor, Unavailable
from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import new_id, shard_for
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Amendment, Idempotency, Move, RawEntry, Store, StoreSettings, Verdict
from quarterdeck.core.store.scripts import Lifetimes
from tests.integration.store.samples import SPEC, a_command

S = CommandState
ALL = range(64)


def _now_ms() -> int:
    return int(time.time() * 1000)


async def test_creation_leaves_event_and_dispatch_message_in_the_outbox(store: Store) -> None:
    """S3-7, S3-9: command, event and outbox entry are one act; the entry stays until it is forgotten."""
    command_id = new_id()
    message = RawEntry("qd.command.t.normal", f"{command_id}-dispatch", b"chunk")

    written = await store.create_command(a_command(command_id, messages=(message,)))

    assert [entry.kind for entry in written.entries] == ["e", "r"]
    record = msgspec.msgpack.decode(written.entries[0].body, type=EventRecord)
    assert (record.type, record.version, record.command_id) == ("command.accepted", 1, command_id)
    assert await store.left_over(ALL, older_than_ms=0) == written.entries
    await store.forget(written.entries)
    assert await store.left_over(ALL, older_than_ms=0) == []


async def test_hundred_concurrent_creations_with_one_key_make_one_command(store: Store) -> None:
    """I6, S3-5: the first wins, the others learn its id."""
    shard = shard_for("t", "u", "key")
    idempotency = Idempotency("scope", "body")

    answers = await asyncio.gather(
        *(store.create_command(a_command(new_id(shard), idempotency=idempotency)) for _ in range(100))
    )

    winners = [answer for answer in answers if answer.existing_id is None]
    assert len(winners) == 1
    assert {answer.existing_id for answer in answers if answer.existing_id} == {
        winners[0].outcomes[0].command_id
    }
    assert (await store.list_commands("t")).total == 1


async def test_same_key_with_another_body_is_a_conflict(store: Store) -> None:
    """I6"""
    shard = shard_for("t", "u", "key")
    await store.create_command(a_command(new_id(shard), idempotency=Idempotency("scope", "body")))

    with pytest.raises(IdempotencyConflict) as caught:
        await store.create_command(a_command(new_id(shard), idempotency=Idempotency("scope", "other")))

    assert caught.value.field == "Idempotency-Key"


async def test_known_end_at_creation_writes_both_events_and_no_dispatch(store: Store) -> None:
    """S0-18: a command for an agent that is away is recorded as unreachable at once."""
    command_id = new_id()
    end = Move(command_id, 1, S.UNREACHABLE, 1, {"error": "client not connected: a1"})

    written = await store.create_command(a_command(command_id, end=end, messages=(RawEntry("s", "i", b""),)))

    types = [msgspec.msgpack.decode(entry.body, type=EventRecord).type for entry in written.entries]
    assert types == ["command.accepted", "command.completed"]
    view = await store.command("t", command_id)
    assert view is not None
    assert (view.state, view.error) == (S.UNREACHABLE, "client not connected: a1")


async def test_retryable_end_goes_back_to_pending_with_the_next_attempt(store: Store) -> None:
    """S4-37F: the same act ends one attempt and begins the next; an unknown outcome never does."""
    spec = CommandSpec(command_type="shell", payload=b"{}", retry=Retry(max_attempts=2, backoff_ms=50))
    command_id = new_id()
    await store.create_command(a_command(command_id, spec=spec, created_at_ms=_now_ms()))
    await store.apply([Move(command_id, 1, S.SENT, 1, {"sent_at_ms": 1})])

    first = await store.apply([Move(command_id, 1, S.FAILED, 2, {"exit_code": 1})])

    view = await store.command("t", command_id)
    assert view is not None
    assert first.outcomes[0].verdict is Verdict.RETRIED
    assert (view.state, view.attempt, view.sent_at_ms, view.exit_code) == (S.PENDING, 2, None, None)
    record = msgspec.msgpack.decode(first.entries[0].body, type=EventRecord)
    assert (record.type, record.payload["exit_code"]) == ("command.attempt_failed", 1)

    await store.apply([Move(command_id, 2, S.SENT, 3)])
    last = await store.apply([Move(command_id, 2, S.FAILED, 4)])
    assert last.outcomes[0].verdict is Verdict.APPLIED


@pytest.mark.parametrize(
    ("road", "end", "reason"),
    [
        ((), S.TIMED_OUT, "delivery"),
        ((S.WAITING,), S.EXPIRED, "queue_for"),
        ((S.SENT,), S.OUTCOME_UNKNOWN, "deadline"),
        ((S.SENT, S.EXECUTING), S.OUTCOME_UNKNOWN, "deadline"),
        ((S.SENT, S.TERMINATING), S.OUTCOME_UNKNOWN, "deadline"),
    ],
)
async def test_deadline_ends_a_command_as_far_as_its_state_proves(
    store: Store, road: tuple[CommandState, ...], end: CommandState, reason: str
) -> None:
    """S0-19, I1, I3: nothing stays for ever, and what may have run is never called a timeout of delivery."""
    spec = CommandSpec(command_type="shell", payload=b"{}", timeout_ms=1, timeout_from=TimeoutClock.CREATION)
    command_id = new_id()
    await store.create_command(a_command(command_id, spec=spec, created_at_ms=1))
    if road:
        await store.apply([Move(command_id, 1, step, 1) for step in road])
        await store.amend([Amendment(command_id, 1, {"deadline_at_ms": 1})])

    due, written = await store.take_due(ALL)

    view = await store.command("t", command_id)
    assert view is not None
    assert due == []
    assert [outcome.command_id for outcome in written.outcomes] == [command_id]
    assert (view.state, view.reason) == (end, reason)
    assert await store.take_due(ALL) == ([], written.__class__(outcomes=[], entries=[]))


async def test_due_commands_are_leased_to_one_caller(store: Store) -> None:
    command_id = new_id()
    await store.create_command(a_command(command_id, created_at_ms=_now_ms()))
    await store.apply([Move(command_id, 1, S.SENT, 1, {}, 1)])
    await asyncio.sleep(0.005)

    answers = await asyncio.gather(*(store.take_due(ALL) for _ in range(5)))

    taken = [due for dues, _ in answers for due in dues]
    assert [(due.command_id, due.state, due.attempt) for due in taken] == [(command_id, S.SENT, 1)]


async def test_waiting_commands_are_found_by_their_agent(store: Store) -> None:
    ids = {agent: new_id() for agent in ("a1", "a11")}
    for agent, command_id in ids.items():
        await store.create_command(a_command(command_id, agent_id=agent, created_at_ms=_now_ms()))
        await store.apply([Move(command_id, 1, S.WAITING, 1)])

    assert [due.command_id for due in await store.take_waiting([("t", "a1")])] == [ids["a1"]]
    await store.apply([Move(ids["a1"], 1, S.SENT, 1)])
    assert await store.take_waiting([("t", "a1")]) == []


async def test_pages_are_newest_first_and_cursors_belong_to_their_query(store: Store) -> None:
    """S0-3, S0-8: client and status combine; a cursor of another query is refused."""
    ids = [new_id() for _ in range(7)]
    for index, command_id in enumerate(ids):
        await store.create_command(a_command(command_id, agent_id=f"a{index % 2}", created_at_ms=_now_ms()))
    await store.apply([Move(ids[0], 1, S.SENT, 1), Move(ids[2], 1, S.SENT, 1)])

    first = await store.list_commands("t", limit=4)
    second = await store.list_commands("t", limit=4, cursor=first.next_cursor)

    assert first.ids + second.ids == sorted(ids, reverse=True)
    assert (first.total, second.next_cursor) == (7, None)
    assert (await store.list_commands("t", agent_id="a0", states=[S.SENT])).ids == [ids[2], ids[0]]
    assert (await store.list_commands("t", states=[S.SENT])).total == 2
    assert (await store.list_commands("other")).total == 0
    with pytest.raises(InvalidCursor):
        await store.list_commands("t", agent_id="a0", cursor=first.next_cursor)
    with pytest.raises(InvalidCursor):
        await store.list_commands("t", cursor="garbage!")


async def test_ended_commands_leave_with_their_index_entries(shared_redis_url: str) -> None:
    """S0-9, S0-17: history is kept for its TTL, then hash and index members are gone."""
    store = Store(StoreSettings(url=shared_redis_url, lifetimes=Lifetimes(command_ttl_s=1)))
    await store.initialise()
    command_id = new_id()
    end = Move(command_id, 1, S.UNREACHABLE, 1)
    await store.create_command(a_command(command_id, end=end))
    assert (await store.list_commands("t")).total == 1

    async with asyncio.timeout(10):
        while not await store.sweep_indexes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # Redis' own clock has to pass the TTL

    assert await store.command("t", command_id) is None
    assert (await store.list_commands("t")).total == 0
    await store.close()


async def test_a_shard_without_incarnation_refuses_to_answer(shared_redis_url: str) -> None:
    """I12: lost state is not mistaken for empty state."""
    store = Store(StoreSettings(url=shared_redis_url))

    with pytest.raises(Unavailable):
        await store.create_command(a_command(new_id(), spec=SPEC))

    await store.close()


async def test_a_tenant_sees_only_its_own(store: Store) -> None:
    """I11, S1-26"""
    command_id = new_id()
    await store.create_command(a_command(command_id))

    assert await store.command("other", command_id) is None
