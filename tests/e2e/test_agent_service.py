"""Servers of the VPS system, run as its own web page ran them: registered, ordered in a batch, watched and stopped."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.agent_service import AgentOptions, NotAccepted, SampleAgent
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD, NEW = "web-old", "web-new"
VPS_DB_IDS = {OLD: 17, NEW: 18}


class Plane:
    """A system that admits nobody unasked, and two registered servers: one with an agent of before our additions."""

    def __init__(self, system: System, agents: dict[str, SampleAgent]) -> None:
        self.system = system
        self.agents = agents

    async def tasks(self, batch_id: str) -> dict[str, dict[str, Any]]:
        """Of a batch, by server."""
        batch = await self.system.get(f"/api/batch_commands/{batch_id}")
        return {task["vps_id"]: task for task in batch["tasks"]}

    async def shows(self, batch_id: str, status: str) -> bool:
        """Whether all its tasks have `status`."""
        return {task["status"] for task in (await self.tasks(batch_id)).values()} == {status}

    async def stopped(self, batch_id: str, agent_id: str) -> bool:
        status: str = (await self.tasks(batch_id))[agent_id]["status"]
        return status == "TERMINATED"


async def registered(system: System, agent_id: str) -> SampleAgent:
    """An agent with the secret that its registration answered."""
    identity = {"vps_db_id": VPS_DB_IDS[agent_id]}
    body = {"agent_id": agent_id, "name": agent_id, "dialect": "agent_service", "identity": identity}
    answer = await system.post("/api/agents", body, status=201)
    options = AgentOptions(
        vps_db_id=VPS_DB_IDS[agent_id],
        secret=answer["secret"],
        says_accepted=agent_id != OLD,
        keeps_timeout=agent_id != OLD,
    )
    return SampleAgent(system.ready["plain_grpc"], options)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    data_dir = tmp_path_factory.mktemp("vps") / "data"
    async with System.running(data_dir, "--agents", "0", "--plain-grpc-port", "0") as system:
        agents = {agent_id: await registered(system, agent_id) for agent_id in (OLD, NEW)}
        for agent_id, agent in agents.items():
            await agent.connect()
            await eventually(partial(connected, system, agent_id), within_s=60)
        yield Plane(system, agents)
        for agent in agents.values():
            await agent.close()


async def test_server_is_shown_with_what_its_agent_said(plane: Plane) -> None:
    """S4-7, S4-14"""
    agent = (await plane.system.get(f"/api/agents/{NEW}"))["agent"]

    assert (agent["link"]["carrier"], agent["link"]["dialect"]) == ("grpc", "agent_service")
    assert (agent["version"], agent["facts"]["kernel"]) == ("1.2.3", "6.1.0-18-amd64")
    assert set(agent["capabilities"]) == {"exec", "shell"}


async def test_batch_runs_on_old_and_new_agents_alike(plane: Plane) -> None:
    """S4-3, S4-17, S4-20, S4-21"""
    batch = await plane.system.ran("echo out; echo err >&2", [OLD, NEW])

    assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
    for task in batch["tasks"]:
        assert (task["status"], task["exit_code"], task["error_message"]) == ("SUCCESS", 0, None)
        assert await plane.system.output(task["child_command_id"]) == b"out\n"
        assert await plane.system.output(task["child_command_id"], "stderr") == b"err\n"


async def test_failure_of_a_task_carries_its_exit_code(plane: Plane) -> None:
    """S4-20, S4-21"""
    batch = await plane.system.ran("exit 7", [NEW])

    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert (batch["tasks"][0]["status"], batch["tasks"][0]["exit_code"]) == ("FAILURE", 7)


async def test_batch_is_stopped_on_every_server(plane: Plane) -> None:
    """S4-5, S4-24, S4-27"""
    batch_id = await plane.system.batch("echo up; sleep 60", [OLD, NEW])
    await eventually(lambda: plane.shows(batch_id, "EXECUTING"), within_s=60)

    await plane.system.post(f"/api/batch_commands/{batch_id}/terminate")

    batch = await plane.system.finished(batch_id)
    assert batch["overall_status"] == "TERMINATED"
    assert await plane.shows(batch_id, "TERMINATED")
    for task in batch["tasks"]:
        assert task["child_command_id"] in plane.agents[task["vps_id"]].terminations


async def test_one_task_is_stopped_and_the_other_goes_on(plane: Plane, tmp_path: Path) -> None:
    """S4-6, S4-25"""
    go = tmp_path / "go"
    batch_id = await plane.system.batch(f"echo up; until test -e {go}; do sleep 0.05; done", [OLD, NEW])
    await eventually(lambda: plane.shows(batch_id, "EXECUTING"), within_s=60)
    child = (await plane.tasks(batch_id))[OLD]["child_command_id"]

    await plane.system.post(f"/api/batch_commands/{batch_id}/tasks/{child}/terminate")
    await eventually(lambda: plane.stopped(batch_id, OLD), within_s=60)
    go.touch()

    batch = await plane.system.finished(batch_id)
    ends = {task["vps_id"]: task["status"] for task in batch["tasks"]}
    assert ends == {OLD: "TERMINATED", NEW: "SUCCESS"}
    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"


@pytest.mark.parametrize("agent_id", [OLD, NEW])
async def test_timeout_ends_the_command_whoever_keeps_it(plane: Plane, agent_id: str) -> None:
    """S4-29: the new agent keeps it itself, for the old one the gateway does."""
    command_id = await plane.system.command(agent_id, "shell", {"command": "sleep 60"}, timeout=1)

    assert (await plane.system.ended(command_id))["status"] == "timeout"


async def test_stranger_is_turned_away(plane: Plane) -> None:
    """S0-27, S4-7: nobody admits it unasked, and what it says leaves no trace among the agents."""
    stranger = SampleAgent(plane.system.ready["plain_grpc"], AgentOptions(vps_db_id=99, secret="guessed"))

    with pytest.raises(NotAccepted):
        await stranger.connect()

    await stranger.close()
    assert {agent["agent_id"] for agent in (await plane.system.get("/api/agents"))["agents"]} == {OLD, NEW}


async def test_registering_again_makes_the_old_secret_void(plane: Plane) -> None:
    """S4-7"""
    old = plane.agents[NEW]
    plane.agents[NEW] = await registered(plane.system, NEW)

    outdated = SampleAgent(plane.system.ready["plain_grpc"], old.options)
    with pytest.raises(NotAccepted):
        await outdated.connect()
    await outdated.close()
    await plane.agents[NEW].connect()

    await old.ended.wait()
    assert (await plane.system.ran("true", [NEW]))["overall_status"] == "COMPLETED_SUCCESSFULLY"
    await old.close()
