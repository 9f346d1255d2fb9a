"""Single commands of one spec travel together, and keep the time they were given."""

from quarterdeck.contracts.commands import CommandSpec, TimeoutClock
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem
from quarterdeck.dispatcher.handlers import group_chunks

NOW_MS = 1_760_000_000_000


def single(number: int, *, created_at_ms: int, clock: TimeoutClock = TimeoutClock.CREATION) -> DispatchChunk:
    spec = CommandSpec(command_type="restart", payload=b"{}", timeout_ms=10_000, timeout_from=clock)
    item = DispatchItem(f"command-{number}", f"agent-{number}")
    return DispatchChunk(tenant="t", user_id="u", spec=spec, items=(item,), created_at_ms=created_at_ms)


def test_singles_created_almost_at_once_share_one_order_message() -> None:
    groups = group_chunks([(single(number, created_at_ms=NOW_MS + number), {}) for number in range(10)])
    assert [len(items) for _, items in groups] == [10]


def test_no_single_gets_less_time_than_it_was_given() -> None:
    """S0-9"""
    chunks = [single(number, created_at_ms=NOW_MS + 20 * number) for number in range(20)]
    created_at_ms = {chunk.items[0].command_id: chunk.created_at_ms for chunk in chunks}
    for envelope, items in group_chunks([(chunk, {}) for chunk in chunks]):
        for item in items:
            assert 0 <= envelope.created_at_ms - created_at_ms[item.command_id] < 50


def test_singles_whose_time_runs_from_their_start_share_a_message_unless_they_expire_far_apart() -> None:
    """I1: the orders of one message share their expiry."""
    times_ms = (0, 60_000, 64_000)
    chunks = [
        single(time_ms, created_at_ms=NOW_MS + time_ms, clock=TimeoutClock.START) for time_ms in times_ms
    ]

    groups = group_chunks([(chunk, {}) for chunk in chunks])

    assert [[item.command_id for item in items] for _, items in groups] == [
        ["command-0"],
        ["command-60000", "command-64000"],
    ]
    assert groups[1][0].deliver_by_ms == NOW_MS + 64_000 + 10_000 + 30_000
