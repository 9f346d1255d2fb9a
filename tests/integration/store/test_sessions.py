"""The act that takes a session's command in: four records or none, one command at a time, rounds without gaps."""

import asyncio
from typing import Any

import msgspec
import redis.asyncio as redis

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import new_id, shard_of
from quarterdeck.contracts.sessions import ANY_AGENT, whoever_can
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import (
    Enqueued,
    HandOver,
    Idempotency,
    Move,
    NewRound,
    RawEntry,
    SessionView,
    Standing,
    Store,
)
from tests.integration.store.samples import AT_MS

S = CommandState
SPEC = CommandSpec(command_type="greet", payload=b"{}", queue_for_ms=1_800_000)
_records = msgspec.msgpack.Decoder(EventRecord)


async def a_session(store: Store, owner: str = "u") -> str:
    session_id = new_id()
    await store.create_session("t", session_id, owner, await now_ms(store))
    return session_id


async def now_ms(store: Store) -> int:
    return await store._runner.now_ms()


async def a_round(session_id: str, at_ms: int, *, key: str | None = None, body: str = "b") -> NewRound:
    command_id = new_id(shard_of(session_id))
    return NewRound(
        session_id=session_id,
        tenant="t",
        user_id="u",
        command_id=command_id,
        spec=SPEC,
        created_at_ms=at_ms,
        messages=(RawEntry("qd.command.t.normal", f"{command_id}-dispatch", b"order"),),
        accepted={"agent_id": ANY_AGENT, "user_id": "u", "session_id": session_id},
        told={"session_id": session_id, "command_id": command_id, "owner": "u"},
        idempotency=None
        if key is None
        else Idempotency.of("t", "u", key, f"{body}-hash", session_id=session_id),
    )


async def enqueue(store: Store, session_id: str, **more: Any) -> Enqueued:
    return await store.enqueue(await a_round(session_id, await now_ms(store), **more))


async def session_of(store: Store, session_id: str) -> SessionView:
    session = await store.session("t", session_id)
    assert session is not None
    return session


async def move(store: Store, command_id: str, to: CommandState, attempt: int = 1, **fields: Any) -> None:
    written = await store.apply([Move(command_id, attempt, to, AT_MS, fields)])
    assert written.entries, written


async def test_command_event_outbox_entry_and_round_are_one_act(store: Store) -> None:
    """S3-7, S3-8, S3-9"""
    session_id = await a_session(store)

    enqueued = await enqueue(store, session_id)

    assert enqueued.standing is Standing.NEW
    assert await store.rounds(session_id) == [(1, enqueued.command_id)]
    view = await store.command("t", enqueued.command_id)
    assert view is not None
    assert (view.session_id, view.round, view.agent_id, view.state) == (session_id, 1, ANY_AGENT, S.PENDING)
    entries = await store.left_over(range(64), older_than_ms=-1_000)
    mine = [entry for entry in entries if entry in enqueued.entries]
    assert mine == enqueued.entries  # PENDING: they wait for the bus
    told = [_records.decode(entry.body) for entry in mine if entry.kind == "e"]
    assert [event.type for event in told] == ["command.accepted", "session.round_created"]
    domain_event = told[1]
    assert (domain_event.aggregate_id, domain_event.command_id) == (session_id, enqueued.command_id)
    assert domain_event.payload["round"] == 1


async def test_an_unfinished_command_of_the_session_stands_for_later_ones(store: Store) -> None:
    """S3-5, S3-6"""
    session_id = await a_session(store)
    first = await enqueue(store, session_id)

    for state in (S.SENT, S.ACCEPTED, S.EXECUTING):
        again = await enqueue(store, session_id, key=state)
        assert (again.standing, again.command_id) == (Standing.PENDING, first.command_id)
        # Nobody told the bus yet: the entries are handed to whoever asks.
        assert [entry.entry_id for entry in again.entries] == [entry.entry_id for entry in first.entries]
        await move(store, first.command_id, state)

    assert await store.rounds(session_id) == [(1, first.command_id)]


async def test_what_the_bus_has_is_not_told_again(store: Store) -> None:
    """S3-6"""
    session_id = await a_session(store)
    first = await enqueue(store, session_id)
    await store.forget(first.entries)

    again = await enqueue(store, session_id)

    assert (again.command_id, again.entries) == (first.command_id, [])


async def test_a_key_answers_with_its_command_also_when_that_has_ended(store: Store) -> None:
    """S3-5"""
    session_id = await a_session(store)
    first = await enqueue(store, session_id, key="k")
    await move(store, first.command_id, S.SENT)
    await move(store, first.command_id, S.SUCCEEDED)

    again = await enqueue(store, session_id, key="k")
    other_body = await enqueue(store, session_id, key="k", body="other")
    next_one = await enqueue(store, session_id, key="k2")

    assert (again.standing, again.command_id) == (Standing.KEY, first.command_id)
    assert (other_body.standing, other_body.command_id) == (Standing.CONFLICT, "")
    assert next_one.standing is Standing.NEW
    assert await store.rounds(session_id) == [(1, first.command_id), (2, next_one.command_id)]


async def test_keys_of_two_sessions_are_two_keys(store: Store) -> None:
    """S3-5: nobody gets the command of another session by guessing its key"""
    one, two = await a_session(store), await a_session(store)

    first, second = await enqueue(store, one, key="k"), await enqueue(store, two, key="k")

    assert {first.standing, second.standing} == {Standing.NEW}
    assert first.command_id != second.command_id


async def test_nothing_is_written_for_a_session_that_is_not_there(store: Store) -> None:
    """S3-7"""
    session_id = new_id()

    enqueued = await enqueue(store, session_id)

    assert (enqueued.standing, enqueued.entries) == (Standing.GONE, [])
    assert await store.rounds(session_id) == []
    assert await store.session("other", await a_session(store)) is None


async def test_a_repeated_act_is_the_first_one(store: Store) -> None:
    """S3-16: an answer that was lost is asked for again"""
    session_id = await a_session(store)
    new = await a_round(session_id, await now_ms(store))

    first, second = await store.enqueue(new), await store.enqueue(new)

    assert first == second


async def test_concurrent_requests_make_one_round(store: Store) -> None:
    """S3-5, S3-7"""
    session_id = await a_session(store)

    answers = await asyncio.gather(*(enqueue(store, session_id) for _ in range(200)))

    assert len({answer.command_id for answer in answers}) == 1
    assert [answer.standing for answer in answers].count(Standing.NEW) == 1
    assert len(await store.rounds(session_id)) == 1


async def test_rounds_have_no_gaps(store: Store) -> None:
    """S3-7"""
    session_id = await a_session(store)

    for _ in range(5):
        command_id = (await enqueue(store, session_id)).command_id
        await move(store, command_id, S.TERMINATED)

    assert [number for number, _ in await store.rounds(session_id)] == [1, 2, 3, 4, 5]
    assert (await session_of(store, session_id)).rounds == 5


async def test_what_waits_is_found_by_what_can_be_done(store: Store) -> None:
    session_id = await a_session(store)
    command_id = (await enqueue(store, session_id)).command_id
    await move(store, command_id, S.WAITING)

    assert await store.take_waiting([("t", ANY_AGENT), ("t", whoever_can("other"))]) == []
    (due,) = await store.take_waiting([("t", whoever_can("greet"))])
    assert (due.command_id, due.session_id) == (command_id, session_id)

    await move(store, command_id, S.SENT, agent_id="a7")
    assert await store.take_waiting([("t", whoever_can("greet"))]) == []
    view = await store.command("t", command_id)
    assert view is not None and view.agent_id == "a7"
    assert (await store.list_commands("t", agent_id="a7")).ids == [command_id]


async def test_what_reached_one_agent_never_goes_to_another(store: Store) -> None:
    session_id = await a_session(store)
    command_id = (await enqueue(store, session_id)).command_id
    await move(
        store, command_id, S.SENT, agent_id="a1", unproved=""
    )  # its gateway proved that it wrote nothing
    await move(store, command_id, S.UNREACHABLE)

    view = await store.command("t", command_id)
    assert view is not None and (view.state, view.attempt) == (S.PENDING, 2)

    await move(store, command_id, S.SENT, 2, agent_id="a2", unproved="h ")
    written = await store.apply([Move(command_id, 2, S.UNREACHABLE, AT_MS)])
    assert written.entries == []
    await store.hand_over([HandOver(command_id, 2, returned=True, handover="h")])
    assert (await store.list_commands("t", agent_id="a1")).ids == []


async def test_a_session_is_kept_while_a_command_of_it_runs(store: Store, shared_redis_url: str) -> None:
    session_id = await a_session(store)
    client = redis.Redis.from_url(shared_redis_url)
    [key] = [key async for key in client.scan_iter(match=f"*session:{session_id}")]
    assert await client.ttl(key) > 0

    command_id = (await enqueue(store, session_id)).command_id
    assert await client.ttl(key) == -1
    await move(store, command_id, S.SENT)
    await move(store, command_id, S.FAILED)
    assert await client.ttl(key) > 0
    await client.aclose()
