"""An agent is two processes, and either may be killed at any moment."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.e2e.agents import connected, front_pid
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_KILLS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A system whose agents these tests may kill."""
    async with System.running(tmp_path_factory.mktemp("processes") / "data", "--agents", "2") as system:
        yield system


async def kill_front(system: System, agent: str) -> None:
    """SIGKILL, and wait until the next front runs."""
    executor_pid = system.ready["agents"][agent]["pid"]

    def runs() -> bool:
        return front_pid(executor_pid) is not None

    await eventually(runs, within_s=30)
    killed = front_pid(executor_pid)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: front_pid(executor_pid) not in {None, killed}, within_s=30)


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_killed_fronts_lose_nothing_and_restart_nothing(
    own: System, carrier: str, tmp_path: Path
) -> None:
    """I2 I4: the front dies three times under a command with output; one start, every byte once, one end."""
    agent = own.agent_on(carrier)
    starts, gate = tmp_path / "starts", tmp_path / "gate"
    lines = "".join(f"line {number} {'x' * 200}\n" for number in range(20_000))
    (tmp_path / "lines").write_text(lines)
    command = (
        f"echo started >> {starts}; head -c 1000000 {tmp_path}/lines; "
        f"while ! test -e {gate}; do sleep 0.05; done; tail -c +1000001 {tmp_path}/lines"
    )
    command_id = await own.command(agent, "shell", {"command": command})
    await eventually(starts.exists, within_s=30)

    for _ in range(_KILLS):
        await kill_front(own, agent)
        await eventually(lambda: connected(own, agent), within_s=30)
    gate.touch()
    ended = await own.ended(command_id)
    output = await own.output(command_id)

    assert ended["status"] == "completed", ended
    assert starts.read_text() == "started\n"
    assert hashlib.sha256(output).digest() == hashlib.sha256(lines.encode()).digest()


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_commands_that_come_while_the_front_is_down_run_once(
    own: System, carrier: str, tmp_path: Path
) -> None:
    """I2: orders and kills in the same moment; each that reached the agent ran exactly once."""
    agent, starts = own.agent_on(carrier), tmp_path / "starts"
    await eventually(lambda: connected(own, agent), within_s=30)

    async def one(number: int) -> str:
        body = {
            "command_content": f"echo {number} >> {starts}; echo {number}",
            "target_vps_ids": [agent],
            "queue_for": 60,
        }
        return str((await own.post("/api/batch_commands", body))["batch_command_id"])

    killing = asyncio.create_task(kill_front(own, agent))
    batches = await asyncio.gather(*(one(number) for number in range(20)))
    await killing
    ended = [await own.finished(batch) for batch in batches]

    assert {batch["overall_status"] for batch in ended} == {"COMPLETED_SUCCESSFULLY"}
    assert sorted(map(int, starts.read_text().split())) == list(range(20))


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_killed_executor_reports_what_nobody_can_know(
    own: System, carrier: str, tmp_path: Path
) -> None:
    """S4-31 I3: after its restart the agent itself says outcome_unknown; the command is not started again."""
    agent = own.agent_on(carrier)
    starts = tmp_path / "starts"
    await eventually(lambda: connected(own, agent), within_s=30)
    command_id = await own.command(agent, "shell", {"command": f"echo started >> {starts}; sleep 300"})
    await eventually(starts.exists, within_s=30)
    killed = own.ready["agents"][agent]["pid"]

    os.kill(killed, signal.SIGKILL)
    ended = await own.ended(command_id)

    assert "outcome_unknown" in str(ended), ended
    assert starts.read_text() == "started\n"
    await eventually(lambda: connected(own, agent), within_s=30)
