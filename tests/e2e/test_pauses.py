"""Processes that stand still for longer than anybody waits for them, and then go on as if nothing had happened."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LONGER_THAN_ACK_WAIT_S = 7.0
_LINES = 400


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Two gateways of each kind, and two agents on each carrier."""
    data_dir = tmp_path_factory.mktemp("pauses") / "data"
    async with System.running(data_dir, "--gateways-per-kind", "2", "--agents", "4") as system:
        yield system


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("carrier", ["grpc", "quic"])
async def test_a_gateway_that_sleeps_while_its_agent_moves_on_adds_and_loses_no_byte(
    own: System, carrier: str
) -> None:
    """I2, I4: both gateways believe that they hold the agent; the stored stream has no gap and nothing twice."""
    agent = own.agent_on(carrier)
    oracle = own.data_dir / f"oracle-{carrier}"
    content = (
        f"echo $$ >> {oracle}; i=0; while [ $i -lt {_LINES} ]; do echo line $i; sleep 0.03; i=$((i+1)); done"
    )
    command_id = await own.command(agent, "shell", {"command": content})
    await eventually(lambda: _has_output(own, command_id))
    held_by = await _held_by(own, agent)
    assert held_by is not None

    async def moved() -> bool:
        return await _held_by(own, agent) not in {held_by, None}

    with paused(own.ready["pids"][_name_of(own, held_by)]):
        await eventually(moved, within_s=90)
    ended = await own.ended(command_id)

    assert ended["status"] == "completed"
    assert await own.output(command_id) == b"".join(b"line %d\n" % number for number in range(_LINES))
    assert ended["stdout"]["verified"] is True
    assert len(oracle.read_text().split()) == 1
    await eventually(lambda: connected(own, agent), within_s=30)


@pytest.mark.parametrize("service", ["dispatcher", "aggregator"])
async def test_a_service_that_sleeps_past_its_ack_wait_does_nothing_twice(own: System, service: str) -> None:
    """I1, I2: what it had in hand is delivered again, to itself, and changes nothing a second time."""
    oracle = own.data_dir / f"oracle-{service}"
    content = f"echo $QUARTERDECK_COMMAND >> {oracle}; sleep 0.2; echo done"
    before = [await own.batch(content, own.agents) for _ in range(5)]

    with paused(own.ready["pids"][service]):
        during = [await own.batch(content, own.agents) for _ in range(5)]
        await asyncio.sleep(_LONGER_THAN_ACK_WAIT_S)
    batches = [await own.finished(batch_id) for batch_id in before + during]

    tasks = [task["child_command_id"] for batch in batches for task in batch["tasks"]]
    assert {batch["overall_status"] for batch in batches} == {"COMPLETED_SUCCESSFULLY"}
    assert sorted(oracle.read_text().split()) == sorted(f"{task}.1" for task in tasks)


async def _has_output(system: System, command_id: str) -> bool:
    return bool(await system.output(command_id))


async def _held_by(system: System, agent: str) -> str | None:
    """The id of the gateway that has the agent's link."""
    link = (await system.get(f"/api/agents/{agent}"))["agent"]["link"]
    return link["gateway_id"] if link else None


def _name_of(system: System, gateway_id: str) -> str:
    """The supervised process that is this gateway: it names itself in its log."""
    logs = (system.data_dir / "run" / "logs").glob("*-gateway*.log")
    return next(log.stem for log in logs if gateway_id in log.read_text(errors="replace"))
