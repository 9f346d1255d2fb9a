"""Commands that wait for others, or for somebody's word, on real machines."""

from pathlib import Path

import pytest

from quarterdeck.testing.eventually import eventually
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_depends_on_each_other_runs_in_its_order(system: System, tmp_path: Path) -> None:
    """S0-40: a batch after a batch, and a command after both."""
    told = tmp_path / "order"
    first = await system.batch(f"sleep 0.3; echo first >> {told}", system.agents[:2])
    second = await system.batch(f"echo second >> {told}", system.agents[2:4], depends_on=[first])
    payload = {"command": f"echo third >> {told}"}
    third = await system.command(system.agents[0], "shell", payload, depends_on=[second, first])

    ended = await system.ended(third)

    assert ended["status"] == "completed"
    assert told.read_text().split() == ["first", "first", "second", "second", "third"]


async def test_what_depends_on_a_failure_never_runs(system: System, tmp_path: Path) -> None:
    """S0-40"""
    mark = tmp_path / "mark"
    first = await system.batch("exit 3", system.agents[:1])
    second = await system.batch(f"touch {mark}", system.agents[1:3], depends_on=[first])
    third = await system.command(system.agents[0], "shell", {"command": f"touch {mark}"}, depends_on=[second])

    skipped = await system.ended(third)

    assert (skipped["state"], skipped["reason"]) == ("skipped", "dependency_failed")
    assert (await system.finished(second))["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert not mark.exists()


async def test_what_is_dangerous_runs_when_somebody_else_approved_it(system: System, tmp_path: Path) -> None:
    """S0-29"""
    mark = tmp_path / "mark"
    token = (await system.post("/api/tokens", {"principal": "bob"}, status=201))["token"]
    bob = {"Authorization": f"Bearer {token}"}
    await system.client.put("/api/policy", json={"needs_approval": ["shell"]})
    try:
        held = await system.command(system.agents[0], "shell", {"command": f"touch {mark}"})

        async def waits() -> bool:
            command = (await system.get(f"/api/command/{held}"))["command"]
            return str(command.get("reason")) == "needs_approval"

        await eventually(waits)
        assert not mark.exists()

        async def approved() -> bool:  # bob's token reaches every replica within moments
            answer = await system.client.post(f"/api/command/{held}/approve", headers=bob)
            return answer.status_code == 200

        await eventually(approved)
        assert (await system.ended(held))["status"] == "completed"
        assert mark.exists()
    finally:
        await system.client.put("/api/policy", json={})
