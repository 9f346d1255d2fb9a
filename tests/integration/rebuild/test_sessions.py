"""Sessions, their rounds, their commands and their idempotency keys come back from the log."""

import random

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.event_payloads import spec_document
from quarterdeck.contracts.ids import new_id, shard_of
from quarterdeck.contracts.sessions import ANY_AGENT, whoever_can
from quarterdeck.contracts.states import TERMINAL, CommandState
from quarterdeck.core.store import Idempotency, NewRound, SessionView, Standing
from tests.integration.rebuild.history import History, now_ms

S = CommandState
SPEC = CommandSpec(command_type="greet", payload=b'{"who":"\xc3\xa4"}', queue_for_ms=1_800_000)


async def _session(history: History) -> str:
    session_id = new_id()
    entries = await history.store.create_session("t", session_id, "u", now_ms())
    await history.relay.publish(entries)
    await history.store.forget(entries)
    return session_id


async def _enqueue(history: History, session_id: str, key: str) -> tuple[Standing, str]:
    """As core/conversations does."""
    command_id, at_ms = new_id(shard_of(session_id)), now_ms()
    enqueued = await history.store.enqueue(
        NewRound(
            session_id=session_id,
            tenant="t",
            user_id="u",
            command_id=command_id,
            spec=SPEC,
            created_at_ms=at_ms,
            messages=(),
            accepted={
                "agent_id": ANY_AGENT,
                "user_id": "u",
                "session_id": session_id,
                "spec": spec_document(SPEC),
                "idempotency_key": key,
                "body_hash": "body",
            },
            told={
                "session_id": session_id,
                "command_id": command_id,
                "owner": "u",
                "session_created_at_ms": (await _view(history, session_id)).created_at_ms,
            },
            idempotency=Idempotency.of("t", "u", key, "body", session_id=session_id),
        )
    )
    await history.relay.publish(enqueued.entries)
    await history.store.forget(enqueued.entries)
    return enqueued.standing, enqueued.command_id


async def _view(history: History, session_id: str) -> SessionView:
    view = await history.store.session("t", session_id)
    assert view is not None
    return view


async def test_rebuilt_sessions_equal_the_lost_ones(history: History) -> None:
    """I12, S3-5, S3-7"""
    choose = random.Random(11)
    sessions = [await _session(history) for _ in range(6)]
    for session_id in sessions:
        for number in range(choose.randrange(4)):
            _, command_id = await _enqueue(history, session_id, f"k{number}")
            await history.move(command_id, S.SENT, agent_id=f"a{number}")
            await history.wander(command_id, choose)
            view = await history.store.command("t", command_id)
            assert view is not None
            if view.state not in TERMINAL:
                break
    before, due = await history.state(), await history.due()

    await history.client.flushall()
    await history.rebuild()

    assert await history.state() == before
    assert await history.due() == due


async def test_numbers_and_keys_go_on_after_a_rebuild(history: History) -> None:
    """I12, S3-5"""
    session_id = await _session(history)
    _, first = await _enqueue(history, session_id, "k1")
    await history.move(first, S.SENT, agent_id="a1")
    await history.move(first, S.SUCCEEDED)
    _, second = await _enqueue(history, session_id, "k2")

    await history.client.flushall()
    await history.rebuild()

    assert await _enqueue(history, session_id, "k1") == (Standing.KEY, first)
    assert await _enqueue(history, session_id, "k3") == (Standing.PENDING, second)
    await history.move(second, S.TERMINATED)
    standing, third = await _enqueue(history, session_id, "k3")
    assert standing is Standing.NEW
    assert await history.store.rounds(session_id) == [(1, first), (2, second), (3, third)]


async def test_what_waited_for_anybody_still_does_after_a_rebuild(history: History) -> None:
    """I12"""
    session_id = await _session(history)
    _, command_id = await _enqueue(history, session_id, "k")
    await history.move(command_id, S.WAITING)

    await history.client.flushall()
    await history.rebuild()

    (due,) = await history.store.take_waiting([("t", whoever_can("greet"))])
    assert (due.command_id, due.session_id, due.agent_id) == (command_id, session_id, ANY_AGENT)
