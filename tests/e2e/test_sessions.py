"""A conversation whose commands are done by a program that embeds the agent library."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.testing.eventually import eventually
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICE = """
import sys
from pathlib import Path
import msgspec
from quarterdeck.agent.sdk import Agent, AgentSettings
from quarterdeck.agent.settings import Role, ServerAddress

agent = Agent()

class Greeting(msgspec.Struct):
    who: str

@agent.handler("greet")
async def greet(params: Greeting) -> dict[str, str]:
    return {"words": f"Hello, {params.who}!"}

name, data_dir, server, join_token = sys.argv[1:]
agent.run(AgentSettings(
    agent_id=name, data_dir=Path(data_dir), servers=(ServerAddress.parse(server),), join_token=join_token,
    role=Role.SINGLE,
))
"""


@asynccontextmanager
async def a_service(system: System, name: str, data_dir: Path) -> AsyncIterator[None]:
    """A program that can `greet`, connected."""
    ready = system.ready
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, name, str(data_dir), f"grpc://{ready['grpc']}", ready["join_token"])
    )
    try:
        await eventually(lambda: connected(system, name), within_s=30)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ended(system: System, session_id: str, command_id: str) -> dict[str, Any]:
    command: dict[str, Any] = {}

    async def over() -> bool:
        nonlocal command
        command = (await system.get(f"/api/sessions/{session_id}/commands/{command_id}"))["command"]
        return command["status"] in {"COMPLETED", "FAILED"}

    await eventually(over, within_s=60)
    return command


async def test_a_command_waits_for_a_service_that_can_do_it(system: System, tmp_path: Path) -> None:
    """S3-1, S3-3, S3-5: and the next round goes to it at once"""
    session_id = (await system.post("/api/sessions", {}, status=201))["session_id"]
    path = f"/api/sessions/{session_id}"
    asked = {"command_type": "greet", "payload": {"who": "world"}, "idempotency_key": "first"}

    first = (await system.post(f"{path}/commands", asked))["command"]
    assert first["status"] == "RECEIVED"
    assert (await system.get(f"{path}/pending-command"))["command"]["command_id"] == first["command_id"]
    async with a_service(system, "greeter-1", tmp_path / "greeter"):
        done = await _ended(system, session_id, first["command_id"])
        assert (done["status"], done["agent_id"]) == ("COMPLETED", "greeter-1")
        assert done["result"] == {"words": "Hello, world!"}

        asked = {"command_type": "greet", "payload": {"who": "again"}}
        second = (await system.post(f"{path}/commands", asked))["command"]
        done = await _ended(system, session_id, second["command_id"])
        assert (done["round"], done["result"]) == (2, {"words": "Hello, again!"})
    assert (await system.get(f"{path}/pending-command"))["command"] == {"command_id": None}


async def test_any_agent_does_what_all_can(system: System) -> None:
    """S3-1: a shell command of a session runs on one of the agents"""
    session_id = (await system.post("/api/sessions", {}, status=201))["session_id"]
    asked = {"command_type": "shell", "payload": {"command": "exit 3"}}

    command = (await system.post(f"/api/sessions/{session_id}/commands", asked))["command"]
    done = await _ended(system, session_id, command["command_id"])

    assert (done["status"], done["state"]) == ("FAILED", "failed")
    assert done["agent_id"] in system.agents
