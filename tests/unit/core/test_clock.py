"""Clocks."""

from quarterdeck.core.clock import Clock, ManualClock, SystemClock


def test_manual_clock_moves_only_by_hand() -> None:
    clock: Clock = ManualClock(now_ms=1_000)
    assert isinstance(clock, ManualClock)

    clock.advance(1_500)

    assert (clock.now_ms(), clock.monotonic_s()) == (2_500, 2.5)


def test_system_clock_does_not_go_backwards() -> None:
    clock = SystemClock()

    first, second = clock.monotonic_s(), clock.monotonic_s()

    assert second >= first
    assert clock.now_ms() > 1_700_000_000_000
