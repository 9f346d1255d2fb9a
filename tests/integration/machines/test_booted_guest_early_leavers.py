"""1,000 commands by callers who leave early, to an agent in a real guest: no answer reaches anybody else.

Here a channel outlives its clients: QEMU keeps what one client asked, and hands the answer to the next one.
"""

from quarterdeck.testing.machines import BootedGuest
from tests.integration.machines.early_leavers import tally


async def test_no_answer_reaches_another_caller_of_a_guest(booted_guest: BootedGuest) -> None:
    """S2-6, S2-24F, S2-25F."""
    counts = await tally(booted_guest.guest, commands=1_000, seed=11)

    assert counts.others == 0
    assert counts.own > 100
    assert counts.left > 100
    assert sum(counts) == 1_000
