"""A short run of `just chaos` with a fixed seed: the same load, the same havoc, the same checker."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_a_system_that_is_killed_all_over_keeps_its_promises(tmp_path: Path) -> None:
    """I1–I6, I8, I9: six agents on both carriers, a fault every 0.2–2 s, Redis and NATS included."""
    plan = Plan(seed=20261121, duration_s=20, commands=150, agents=6)

    outcome = await run(plan, tmp_path)

    assert outcome.refusals == []
    assert {verdict.invariant: verdict.violations for verdict in outcome.verdicts if not verdict.kept} == {}
    assert outcome.killed
    assert outcome.stopped
    assert {"I1", "I2", "I3", "I4", "I5", "I6"} <= {
        verdict.invariant for verdict in outcome.verdicts if verdict.tested
    }
