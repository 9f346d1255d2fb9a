"""Batches: expansion, counters, ends, termination."""

import asyncio
import time

import msgspec
import pytest

from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import child_id, new_id
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store import Child, Move, RawEntry, Store, Verdict, Written
from tests.integration.store.samples import SPEC, a_batch

S = CommandState
TARGETS = tuple(f"a{index}" for index in range(6))
NOW_MS = int(time.time() * 1000)


def _children(batch_id: str, to: CommandState = S.SENT, targets: tuple[str, ...] = TARGETS) -> list[Child]:
    return [Child(child_id(batch_id, index), agent, None, to) for index, agent in enumerate(targets)]


async def _expand(store: Store, batch_id: str, children: list[Child]) -> Written:
    return await store.expand(
        tenant="t",
        user_id="u",
        batch_id=batch_id,
        spec=SPEC,
        created_at_ms=NOW_MS,
        at_ms=NOW_MS,
        children=children,
    )


def _events(written: Written) -> list[EventRecord]:
    return [
        msgspec.msgpack.decode(entry.body, type=EventRecord) for entry in written.entries if entry.kind == "e"
    ]


async def _new(store: Store, targets: tuple[str, ...] = TARGETS) -> str:
    batch_id = new_id()
    await store.create_batch(a_batch(batch_id, targets, created_at_ms=NOW_MS))
    return batch_id


async def test_a_batch_shows_all_children_before_they_exist(store: Store) -> None:
    """S4-13: created PENDING, expanded later."""
    batch_id = await _new(store)

    batch = await store.batch("t", batch_id)

    assert batch is not None
    assert (batch.state, batch.counts, batch.targets) == (BatchState.PENDING, {S.PENDING: 6}, TARGETS)
    children = await store.children(batch)
    assert [(child.agent_id, child.state) for child in children] == [(agent, S.PENDING) for agent in TARGETS]


async def test_a_redelivered_chunk_creates_nothing_twice(store: Store) -> None:
    """S4-14, I2: the second delivery learns where each child stands."""
    batch_id = await _new(store)
    first = await _expand(store, batch_id, _children(batch_id))

    second = await _expand(store, batch_id, _children(batch_id))

    assert [outcome.verdict for outcome in first.outcomes] == [Verdict.CREATED] * 6
    assert [(outcome.verdict, outcome.state) for outcome in second.outcomes] == [(Verdict.EXISTS, S.SENT)] * 6
    assert second.entries == []
    batch = await store.batch("t", batch_id)
    assert batch is not None
    assert (batch.state, batch.counts) == (BatchState.IN_PROGRESS, {S.SENT: 6})


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ([S.SUCCEEDED] * 6, BatchState.COMPLETED_SUCCESSFULLY),
        ([S.SUCCEEDED] * 5 + [S.FAILED], BatchState.COMPLETED_WITH_ERRORS),
        ([S.TERMINATED] * 6, BatchState.COMPLETED_WITH_ERRORS),
        ([S.UNREACHABLE] * 6, BatchState.FAILED_TO_START),
        ([S.UNREACHABLE] * 5 + [S.SUCCEEDED], BatchState.COMPLETED_WITH_ERRORS),
    ],
)
async def test_the_last_child_ends_the_batch_once(
    store: Store, ends: list[CommandState], state: BatchState
) -> None:
    """S4-15, S4-21: counters move with the children, and one `batch.completed` is written."""
    batch_id = await _new(store)
    await _expand(store, batch_id, _children(batch_id))

    answers = await asyncio.gather(
        *(store.apply([Move(child_id(batch_id, index), 1, end, NOW_MS)]) for index, end in enumerate(ends))
    )

    batch = await store.batch("t", batch_id)
    assert batch is not None
    assert batch.state is state
    assert sum(batch.counts.values()) == 6
    assert batch.completed_at_ms is not None
    completed = [event for answer in answers for event in _events(answer) if event.type == "batch.completed"]
    assert [event.payload["state"] for event in completed] == [state]


async def test_one_pull_of_results_gives_one_progress_event(store: Store) -> None:
    """S4-22: progress is coalesced."""
    batch_id = await _new(store)
    await _expand(store, batch_id, _children(batch_id))

    written = await store.apply(
        [Move(child_id(batch_id, index), 1, S.SUCCEEDED, NOW_MS) for index in range(4)]
    )

    progress = [event for event in _events(written) if event.type == "batch.progressed"]
    assert [event.payload["counts"] for event in progress] == [{"sent": 2, "succeeded": 4}]


async def test_terminated_batch_never_sends_what_was_not_expanded(store: Store) -> None:
    """S4-5, S4-24, I8: children of a later chunk go straight to terminated; the batch ends TERMINATED."""
    batch_id = await _new(store)
    await _expand(store, batch_id, _children(batch_id)[:3])
    message = RawEntry("qd.command.t.urgent", f"{batch_id}-terminate", b"stop")

    asked = await store.terminate_batch("t", batch_id, [message])
    again = await store.terminate_batch("t", batch_id, [message])
    late = await _expand(store, batch_id, _children(batch_id)[3:])
    await store.apply([Move(child_id(batch_id, index), 1, S.TERMINATING, NOW_MS) for index in range(3)])
    await store.apply([Move(child_id(batch_id, index), 1, S.TERMINATED, NOW_MS) for index in range(3)])

    assert (asked.batch_state, again.batch_state) == (BatchState.TERMINATING, BatchState.TERMINATING)
    assert [entry.kind for entry in asked.entries] == ["e", "r"]
    assert again.entries == []
    assert {outcome.state for outcome in late.outcomes} == {S.TERMINATED}
    batch = await store.batch("t", batch_id)
    assert batch is not None
    assert (batch.state, batch.counts) == (BatchState.TERMINATED, {S.TERMINATED: 6})


async def test_terminate_of_an_unknown_batch_says_so(store: Store) -> None:
    batch_id = await _new(store)

    assert (await store.terminate_batch("other", batch_id, [])).batch_state is None
    assert (await store.terminate_batch("t", new_id(), [])).batch_state is None


async def test_children_read_in_pages_keep_the_targets_order(store: Store) -> None:
    """S4-3, S4-4"""
    targets = tuple(f"m{index}" for index in range(1203))
    batch_id = await _new(store, targets)
    await _expand(store, batch_id, _children(batch_id, targets=targets)[:700])
    batch = await store.batch("t", batch_id)
    assert batch is not None

    everybody = await store.children(batch)
    some = await store.children(batch, offset=690, limit=20)

    assert tuple(child.agent_id for child in everybody) == targets
    assert [child.state for child in some] == [S.SENT] * 10 + [S.PENDING] * 10


async def test_a_child_that_waits_for_its_link_is_shown_as_pending(store: Store) -> None:
    """S4-14: an agent that lost its link a moment ago is not unreachable yet."""
    batch_id = await _new(store)
    await _expand(store, batch_id, [Child(child_id(batch_id, 0), "a0", None, S.PENDING, {}, 500)])

    batch = await store.batch("t", batch_id)
    assert batch is not None
    children = await store.children(batch)

    assert batch.state is BatchState.PENDING
    assert {child.state for child in children} == {S.PENDING}
    assert children[0].updated_at_ms >= NOW_MS
