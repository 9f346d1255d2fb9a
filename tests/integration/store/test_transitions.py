"""The scripts' state machine, held against the table in contracts/states.py."""

import random
import time

import msgspec
import pytest

from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.states import LEGAL, NEVER_RAN, RANK, TERMINAL, CommandState, may_move, settle
from quarterdeck.core.store import Amendment, HandOver, Move, Store, Verdict
from tests.integration.store.samples import a_command

S = CommandState
NOW_MS = int(time.time() * 1000)

ROADS: dict[CommandState, tuple[CommandState, ...]] = {
    S.PENDING: (),
    S.WAITING: (S.WAITING,),
    S.SENT: (S.SENT,),
    S.ACCEPTED: (S.SENT, S.ACCEPTED),
    S.EXECUTING: (S.SENT, S.EXECUTING),
    S.TERMINATING: (S.SENT, S.TERMINATING),
    S.SUCCEEDED: (S.SENT, S.SUCCEEDED),
    S.FAILED: (S.SENT, S.FAILED),
    S.TIMED_OUT: (S.SENT, S.TIMED_OUT),
    S.TERMINATED: (S.TERMINATED,),
    S.UNREACHABLE: (S.UNREACHABLE,),
    S.REJECTED: (S.SENT, S.REJECTED),
    S.EXPIRED: (S.WAITING, S.EXPIRED),
    S.SKIPPED: (S.SKIPPED,),
    S.OUTCOME_UNKNOWN: (S.SENT, S.OUTCOME_UNKNOWN),
}
"""How to bring a new command to a state."""


async def _bring(store: Store, state: CommandState) -> str:
    command_id = new_id()
    await store.create_command(a_command(command_id, created_at_ms=NOW_MS))
    if ROADS[state]:
        written = await store.apply([Move(command_id, 1, step, NOW_MS) for step in ROADS[state]])
        assert [outcome.verdict for outcome in written.outcomes] == [Verdict.APPLIED] * len(ROADS[state])
    return command_id


def _expected(current: CommandState, new: CommandState) -> CommandState | None:
    """The model: where `current` goes when asked for `new`; None: nowhere."""
    if new is S.TERMINATING and current in {S.PENDING, S.WAITING}:
        new = S.TERMINATED
    new = settle(current, new)
    return new if RANK[new] > RANK[current] and may_move(current, new) else None


@pytest.mark.parametrize("current", list(S))
async def test_scripts_move_exactly_as_the_table_says(store: Store, current: CommandState) -> None:
    """S0-9, S4-11: every pair of states; an illegal or late move changes nothing and writes no event."""
    for new in S:
        command_id = await _bring(store, current)
        before = await store.command("t", command_id)

        written = await store.apply([Move(command_id, 1, new, NOW_MS)])

        after = await store.command("t", command_id)
        expected = _expected(current, new)
        assert before is not None
        assert after is not None
        if expected is None:
            assert written.outcomes[0].verdict in {Verdict.BEHIND, Verdict.ILLEGAL}
            assert (after.state, after.version) == (current, before.version)
            assert written.entries == []
        else:
            assert written.outcomes[0].verdict is Verdict.APPLIED
            assert (after.state, after.version) == (expected, before.version + 1)
            assert len(written.entries) == 1


def test_every_end_is_reachable_and_absorbing() -> None:
    """S0-9: no state is a dead end except the ends."""
    reached = set().union(*LEGAL.values())
    assert reached >= TERMINAL
    assert all(not LEGAL[state] for state in TERMINAL)
    assert reached >= NEVER_RAN


async def test_any_order_of_reports_gives_the_same_end(store: Store) -> None:
    """I1: two aggregators may apply a result before a start; the end is the same and is written once."""
    dice = random.Random(20261121)
    steps = [S.SENT, S.ACCEPTED, S.EXECUTING, S.SUCCEEDED]
    for _ in range(20):
        command_id = new_id()
        await store.create_command(a_command(command_id, created_at_ms=NOW_MS))
        await store.apply([Move(command_id, 1, S.SENT, NOW_MS)])
        order = dice.sample(steps, len(steps))

        ends = 0
        for step in order:
            written = await store.apply([Move(command_id, 1, step, NOW_MS)])
            records = [msgspec.msgpack.decode(entry.body, type=EventRecord) for entry in written.entries]
            ends += sum(record.type == "command.completed" for record in records)

        view = await store.command("t", command_id)
        assert view is not None
        assert view.state is S.SUCCEEDED
        assert ends == 1


async def test_a_report_of_an_earlier_attempt_changes_nothing(store: Store) -> None:
    """I3: (attempt, rank) only grows."""
    command_id = await _bring(store, S.SENT)

    written = await store.apply(
        [Move(command_id, 0, S.SUCCEEDED, NOW_MS), Move(command_id, 2, S.SUCCEEDED, NOW_MS)]
    )

    assert [outcome.verdict for outcome in written.outcomes] == [Verdict.BEHIND, Verdict.ILLEGAL]
    assert written.entries == []


async def test_events_of_a_command_carry_growing_versions_and_hide_bulk(store: Store) -> None:
    """S3-8: an event says what happened, of which version, and never the output's tail."""
    command_id = await _bring(store, S.SENT)

    written = await store.apply(
        [
            Move(
                command_id,
                1,
                S.FAILED,
                NOW_MS,
                {"exit_code": 3, "error": "exit 3", "stdout_bytes": 5, "stdout_tail": b"\xff\x00abc"},
            )
        ]
    )

    record = msgspec.msgpack.decode(written.entries[0].body, type=EventRecord)
    assert (record.type, record.version, record.event_id) == ("command.completed", 3, f"{command_id}-3")
    assert record.payload.pop("updated_at_ms") >= NOW_MS
    assert record.payload == {
        "state": "failed",
        "attempt": 1,
        "agent_id": "a1",
        "exit_code": 3,
        "error": "exit 3",
        "stdout_bytes": 5,
    }
    view = await store.command("t", command_id)
    assert view is not None
    assert view.stdout.tail == b"\xff\x00abc"
    assert view.exit_code == 3


async def test_unknown_command_is_answered_and_leaves_nothing(store: Store) -> None:
    written = await store.apply([Move(new_id(), 1, S.SUCCEEDED, NOW_MS)])

    assert [outcome.verdict for outcome in written.outcomes] == [Verdict.UNKNOWN]
    assert written.entries == []


@pytest.mark.parametrize("by", ["t/other", "other/a1", "a1", "t/a1/x"])
async def test_a_report_of_another_agent_s_command_changes_nothing(store: Store, by: str) -> None:
    """I11, S1-26: an agent speaks only for what it was ordered itself."""
    command_id = await _bring(store, S.SENT)

    written = await store.apply([Move(command_id, 1, S.SUCCEEDED, NOW_MS, by=by)])
    await store.amend([Amendment(command_id, 1, {"stdout_bytes": 7}, by)])
    await store.hand_over([HandOver(command_id, 1, returned=True, handover="h1", by=by)])

    view = await store.command("t", command_id)
    assert [outcome.verdict for outcome in written.outcomes] == [Verdict.FOREIGN]
    assert written.entries == []
    assert view is not None
    assert (view.state, view.stdout.length) == (S.SENT, 0)


async def test_an_agent_may_report_its_own(store: Store) -> None:
    command_id = await _bring(store, S.SENT)

    written = await store.apply([Move(command_id, 1, S.SUCCEEDED, NOW_MS, by="t/a1")])

    assert [outcome.verdict for outcome in written.outcomes] == [Verdict.APPLIED]
