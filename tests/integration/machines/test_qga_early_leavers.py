"""1,000 commands by callers who leave early, to a real qemu-ga on this host: no answer reaches anybody else."""

from pathlib import Path

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from tests.integration.machines.early_leavers import tally


async def test_no_answer_reaches_another_caller(host_guest_agent: Path) -> None:
    """S2-6, S2-24F, S2-25F."""
    guest = Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(host_guest_agent))})

    counts = await tally(guest, commands=1_000, seed=7)

    assert counts.others == 0
    assert counts.own > 100
    assert counts.left > 100
    assert sum(counts) == 1_000
