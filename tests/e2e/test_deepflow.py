"""A DeepFlow agent asked over HTTP, as its own controller was: through the whole product, and over its own wire."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.deepflow import CATALOGUE, SampleAgent
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

AGENT = "/api/agents/df-10-0-0-7-aa-bb-cc-dd-ee-07"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system with the one agent, which nobody had registered."""
    options = ("--agents", "0", "--admit-dialects", "--plain-grpc-port", "0")
    async with System.running(tmp_path_factory.mktemp("deepflow") / "data", *options) as system:
        agent = await SampleAgent(system.ready["plain_grpc"]).connect()
        await eventually(lambda: connected(system, AGENT.rpartition("/")[2]), within_s=60)
        yield system
        await agent.close()


async def test_agent_tells_what_it_can_do(plane: System) -> None:
    """S1-9, S1-10, S1-11"""
    commands = await plane.get(f"{AGENT}/commands")
    namespaces = await plane.get(f"{AGENT}/namespaces")

    assert [command["ident"] for command in commands["commands"]] == list(CATALOGUE)
    say = next(command for command in commands["commands"] if command["ident"] == "say")
    assert [(param["name"], param["required"]) for param in say["params"]] == [("what", True)]
    assert {"net", "mnt", "pid"} <= {namespace["ns_type"] for namespace in namespaces["namespaces"]}


async def test_run_answers_what_the_command_did(plane: System) -> None:
    """S1-8, S1-11"""
    ran = await plane.post(f"{AGENT}/run", {"ident": "say", "params": {"what": "hello"}}, status=200)
    failed = await plane.post(f"{AGENT}/run", {"ident": "half"}, status=200)

    assert (ran["success"], ran["stdout"], ran["exit_code"]) == (True, "hello", 0)
    assert (failed["success"], failed["stdout"], failed["exit_code"]) == (False, "half\n", 4)
    assert failed["error"] == "broken\n"


async def test_ways_to_fail_are_told_apart(plane: System) -> None:
    """S1-18: the agent's own error, no time left, no such agent, no word for it in the protocol."""
    unknown = await plane.post(f"{AGENT}/run", {"ident": "nosuch"}, status=502)
    late = await plane.post(
        f"{AGENT}/run", {"ident": "wait", "params": {"seconds": "2"}, "timeout": 0.5}, status=504
    )
    shell = await plane.post(f"{AGENT}/run", {"command": "id"}, status=502)
    await plane.post("/api/agents/df-nobody/run", {"ident": "hello"}, status=404)

    assert unknown["detail"] == "command not found for id nosuch"
    assert late["detail"] == "timeout(0.5s) to run agent command"
    assert (shell["state"], shell["reason"]) == ("rejected", "unsupported_by_dialect")
    assert (await plane.ended(late["command_id"]))["status"] == "completed"


async def test_run_is_followed_in_its_own_answer(plane: System) -> None:
    """S1-7, S1-11"""
    body = json.dumps({"ident": "zeros", "params": {"bytes": "600000"}})
    headers = {"Accept": "text/event-stream"}
    async with plane.client.stream("POST", f"{AGENT}/run", content=body, headers=headers) as response:
        assert response.status_code == 200
        lines = [line async for line in response.aiter_lines()]

    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds.count("output") >= 2
    assert kinds[-1] == "end"
