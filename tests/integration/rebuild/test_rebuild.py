"""The state is rebuilt from its events, whatever of it was lost."""

import random

import msgspec
import pytest

from quarterdeck.contracts import subjects
from quarterdeck.contracts.commands import CommandSpec, Lane
from quarterdeck.contracts.errors import IdempotencyConflict, Unavailable
from quarterdeck.contracts.ids import child_id, new_id, shard_for, shard_of
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core import failpoints
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.failpoints import FailpointStruck
from quarterdeck.core.rebuild import Rebuilder, StateKeeper
from quarterdeck.core.store import Idempotency, Move, NewCommand, RawEntry, keys
from quarterdeck.core.store.restoring import BatchStory
from quarterdeck.embedded.redis_server import RedisServer
from tests.integration.rebuild.history import NO_WAITING, SPEC, History, now_ms

S = CommandState


async def _random_history(history: History, seed: int) -> None:
    choose = random.Random(seed)
    singles = [await history.command(key=f"k{index}" if index % 3 == 0 else None) for index in range(30)]
    batches = [await history.batch(7, parts=2, request=b'{"n": "\xc3\xa4"}') for _ in range(6)]
    for batch_id in batches:
        await history.expand(batch_id, range(7), choose.choice([S.SENT, S.WAITING, S.UNREACHABLE]))
    children = [child_id(batch_id, index) for batch_id in batches for index in range(7)]
    for command_id in [*singles, *children]:
        await history.wander(command_id, choose)
    await history.tell(await history.store.terminate_batch("t", batches[0], []))


@pytest.mark.parametrize("seed", range(3))
async def test_rebuilt_state_equals_the_lost_one(history: History, seed: int) -> None:
    """I12: every key, but for tails and for who had an order in hand; everything unfinished is looked at again."""
    await _random_history(history, seed)
    before, due = await history.state(), await history.due()

    await history.client.flushall()
    await history.rebuild()

    assert await history.state() == before
    assert await history.due() == due


async def test_everything_is_refused_until_the_rebuild(history: History) -> None:
    """I12: lost state is not mistaken for empty state."""
    command_id = await history.command()
    await history.client.flushall()

    with pytest.raises(Unavailable):
        await history.command()
    with pytest.raises(Unavailable):
        await history.store.apply([Move(command_id, 1, S.SENT, now_ms())])


@pytest.mark.parametrize("place", ["rebuild.midway", "rebuild.before_incarnation"])
async def test_a_rebuild_that_died_is_begun_anew(history: History, place: str) -> None:
    """I12: nothing of the first one is counted twice."""
    await _random_history(history, 7)
    before = await history.state()
    await history.client.flushall()
    failpoints.arm(f"{place}=fail")
    try:
        with pytest.raises(FailpointStruck):
            await history.rebuild()
    finally:
        failpoints.disarm()
    for lease in await history.client.keys("qd:*lease"):  # as time does
        await history.client.delete(lease)

    await history.rebuild()

    assert await history.state() == before


async def test_a_rebuild_whose_work_is_flushed_gives_up_and_the_next_is_whole(history: History) -> None:
    """I12: the lease is lost with what it protected."""
    await _random_history(history, 8)
    before = await history.state()
    await history.client.flushall()
    token = f"{await history.store.run_id()}/sleeper"
    assert len(await history.store.lease(range(64), token, ttl_ms=60_000)) == 64
    await history.client.flushall()

    with pytest.raises(Unavailable):
        await history.store.restore_batches(token, [], [BatchStory(new_id(), 1, "IN_PROGRESS", 1, False)])
    await history.rebuild()

    assert await history.state() == before


async def test_only_one_rebuilds_at_a_time(history: History) -> None:
    await history.client.flushall()
    token = f"{await history.store.run_id()}/other"
    await history.store.lease(range(64), token, ttl_ms=60_000)

    assert await history.rebuilder.rebuild() is None


async def test_a_restarted_redis_is_caught_up_before_anybody_uses_it(
    history: History, redis_server: RedisServer
) -> None:
    """I12: the shards are shut by the first connection, and what the append-only file lacks comes from the log."""
    await history.command()
    await StateKeeper(history.bus, history.store, SystemClock(), NO_WAITING).round()
    lost = await history.command(key="lost")
    await history.move(lost, S.SENT)
    before = await history.state()
    for name in [key async for key in history.client.scan_iter(f"*{lost}*")]:
        await history.client.delete(name)  # as if the file had not got it
    await redis_server.kill()
    await redis_server.start()
    await history.client.connection_pool.disconnect()

    with pytest.raises(Unavailable):
        await _again(history)
    await history.rebuild()

    view = await history.store.command("t", lost)
    assert view is not None
    assert view.state is S.SENT
    after = await history.state()
    assert {name: after[name] for name in before} == before


async def _again(history: History) -> None:
    try:
        await history.command()
    except Unavailable as error:
        if "NOSHARD" not in str(error):  # the old connection
            await history.command()
        raise


async def test_versions_after_a_rebuild_are_above_all_of_before(history: History) -> None:
    """I12: the bus never takes an event of afterwards for a duplicate of one of before."""
    command_id = await history.command()
    await history.move(command_id, S.SENT)
    untold = await history.store.apply([Move(command_id, 1, S.EXECUTING, now_ms(), {"started_at_ms": 5})])
    await history.client.flushall()
    await history.rebuild()

    written = await history.move(command_id, S.SUCCEEDED, completed_at_ms=now_ms())
    await history.relay.publish(untold.entries)

    assert written.outcomes[0].version > untold.outcomes[0].version + 1
    view = await history.store.command("t", command_id)
    assert view is not None
    assert view.state is S.SUCCEEDED


async def test_events_that_arrive_after_the_rebuild_are_added_where_they_are_news(history: History) -> None:
    """I12: a writer that slept between its script and the bus; its command was answered 202."""
    known = await history.command()
    late = await history.store.apply([Move(known, 1, S.SENT, now_ms(), {"sent_at_ms": 3})])
    keeper = StateKeeper(history.bus, history.store, SystemClock(), NO_WAITING)
    await history.client.flushall()
    await keeper.round()
    await keeper.round()

    await history.relay.publish(late.entries)
    await keeper.round()

    view = await history.store.command("t", known)
    assert view is not None
    assert (view.state, view.sent_at_ms) == (S.SENT, 3)


async def test_children_that_no_event_mentions_are_pending_and_looked_at(history: History) -> None:
    """I1: their dispatch message may have been acked long ago."""
    batch_id = await history.batch(5)
    await history.expand(batch_id, range(2))
    await history.client.flushall()

    await history.rebuild()

    batch = await history.store.batch("t", batch_id)
    assert batch is not None
    assert batch.counts == {S.SENT: 2, S.PENDING: 3}
    assert {child_id(batch_id, index).encode() for index in range(5)} <= await history.due()
    again = await history.expand(batch_id, range(5))
    assert [outcome.state for outcome in again.outcomes] == [S.SENT] * 5


async def test_a_batch_that_was_being_stopped_is_stopped_again(history: History) -> None:
    """I8: what was never sent is not sent after the rebuild either."""
    batch_id = await history.batch(3)
    await history.tell(await history.store.terminate_batch("t", batch_id, []))
    before = (await history.bus.stream_info("QD_COMMANDS")).messages
    await history.client.flushall()

    await history.rebuild()

    batch = await history.store.batch("t", batch_id)
    assert batch is not None
    assert (batch.state, batch.terminate_requested) == (BatchState.TERMINATING, True)
    assert (await history.bus.stream_info("QD_COMMANDS")).messages == before + 1
    moved = await history.move(child_id(batch_id, 0), S.SENT)
    assert moved.outcomes[0].state is S.TERMINATED


async def test_a_batch_whose_end_was_not_told_ends_with_the_rebuild(history: History) -> None:
    batch_id = await history.batch(1)
    await history.expand(batch_id, range(1))
    last = await history.store.apply([Move(child_id(batch_id, 0), 1, S.SUCCEEDED, now_ms())])
    await history.relay.publish(last.entries[:1])  # the child's end, and not the batch's
    await history.client.flushall()

    await history.rebuild()

    batch = await history.store.batch("t", batch_id)
    assert batch is not None
    assert batch.state is BatchState.COMPLETED_SUCCESSFULLY


async def test_idempotency_keys_survive(history: History) -> None:
    """I6: the same key and body give the same command, another body is refused."""
    command_id = await history.command(key="once")
    await history.client.flushall()
    await history.rebuild()

    assert await history.command(key="once") == command_id
    with pytest.raises(IdempotencyConflict):
        await history.store.create_command(_with_other_body())


def _with_other_body() -> NewCommand:
    return NewCommand(
        command_id=new_id(shard_for("t", "u", "once")),
        tenant="t",
        user_id="u",
        agent_id="a1",
        spec=SPEC,
        created_at_ms=now_ms(),
        idempotency=Idempotency.of("t", "u", "once", "other"),
    )


async def test_long_requests_and_many_targets_come_back_whole(history: History) -> None:
    """S4-20: the request as it was sent, though it takes several events."""
    request = b'{"pad": "' + "ä".encode() * 200_000 + b'"}'
    batch_id = await history.batch(1_203, request=request, parts=3)
    await history.client.flushall()
    await history.rebuild()

    batch = await history.store.batch("t", batch_id)
    assert batch is not None
    assert batch.original_request == request
    assert batch.targets == tuple(f"a{index}" for index in range(1_203))


async def test_what_would_have_been_forgotten_is_not_rebuilt(history: History) -> None:
    """A time to live runs from the end, not from the rebuild."""
    spec = CommandSpec(command_type="shell", payload=b"{}")
    command_id = await history.command(spec=spec)
    written = await history.store.apply([Move(command_id, 1, S.UNREACHABLE, now_ms())])
    await history.tell(written)
    await history.client.flushall()

    class InAnHour(SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + 3_600_000

    assert await Rebuilder(history.bus, history.store, InAnHour(), NO_WAITING).rebuild() is not None

    assert await history.store.command("t", command_id) is None


async def test_what_waits_for_others_looks_at_them_soon_after_a_rebuild(history: History) -> None:
    """S0-35, S0-40, I12: the message that was to wake it is lost with everything else, and is not needed."""
    first = await history.command()
    second = await history.command(spec=msgspec.structs.replace(SPEC, depends_on=(first,)))
    wake = RawEntry(subjects.command("t", Lane.URGENT), f"{second}-wake", b"")
    await history.store.await_ends("t", [first], [wake])
    await history.move(second, S.WAITING, reason="dependencies", deadline_at_ms=now_ms() + 3_600_000)

    await history.client.flushall()
    await history.rebuild()

    view = await history.store.command("t", second)
    assert view is not None
    assert (view.state, view.reason, view.spec.depends_on) == (S.WAITING, "dependencies", (first,))
    look_at_ms = await history.client.zscore(keys.key(shard_of(second), "attention"), second)
    assert look_at_ms is not None
    assert look_at_ms < now_ms() + 10_000
    assert await history.store.await_ends("t", [first], [wake]) == [S.PENDING]


async def test_what_is_in_flight_is_counted_anew_by_a_rebuild(history: History) -> None:
    """S0-17, I12: singles, children, and children that no chunk created yet."""
    ended = await history.command()
    await history.command()
    batch_id = await history.batch(5)
    await history.expand(batch_id, range(2))
    await history.move(ended, S.UNREACHABLE, attempt=1)
    await history.move(ended, S.UNREACHABLE, attempt=2)
    assert await history.store.in_flight() == 6

    await history.client.flushall()
    await history.rebuild()

    assert await history.store.in_flight() == 6
