"""How quickly a crashed child comes back."""

from quarterdeck.embedded.backoff import RestartPolicy

POLICY = RestartPolicy(first_s=0.1, cap_s=5.0, steady_after_s=10.0)


def test_first_restart_is_nearly_immediate_and_later_ones_double_up_to_the_cap() -> None:
    """A crash loop must not eat the machine, a single crash must not be felt."""
    delays = [POLICY.delay_s(crashes) for crashes in (1, 2, 3, 7, 100_000)]

    assert delays == [0.1, 0.2, 0.4, 5.0, 5.0]


def test_child_that_ran_long_enough_starts_again_from_the_shortest_delay() -> None:
    """One crash a day is not a crash loop."""
    assert POLICY.crashes_after(6, ran_s=9.9) == 7
    assert POLICY.crashes_after(6, ran_s=10.0) == 1
