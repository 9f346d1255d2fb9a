"""More agents than `up --agents` starts: real processes that enrol with the system's join token."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from quarterdeck.agent.front_launch import FRONT_MODULE
from quarterdeck.testing.eventually import eventually
from tests.e2e.system import System


async def connected(system: System, agent_id: str) -> bool:
    answer = await system.client.get(f"/api/agents/{agent_id}")
    return answer.status_code == 200 and answer.json()["agent"]["connected"]


@asynccontextmanager
async def agent(
    system: System, agent_id: str, data_dir: Path, *options: str, server: str | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """One agent, connected. `server`: `grpc://host:port` or `quic://host:port`; the system's gRPC gateway when None."""
    ready = system.ready
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck.agent", "--agent-id", agent_id, "--data-dir", str(data_dir)),
        *("--server", server or f"grpc://{ready['grpc']}", "--join-token", ready["join_token"], *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: connected(system, agent_id), within_s=30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def front_pid(executor_pid: int) -> int | None:
    """Of the front that an agent runs now; `executor_pid` is the agent's own. None: it is just being started."""
    for child in psutil.Process(executor_pid).children():
        try:
            if FRONT_MODULE in child.cmdline():
                return child.pid
        except psutil.Error:
            continue  # it ended meanwhile
    return None


async def enrolled_but_away(system: System, agent_id: str, data_dir: Path) -> str:
    """An agent that the registry knows and that has no link any more."""
    async with agent(system, agent_id, data_dir):
        pass

    async def away() -> bool:
        return not await connected(system, agent_id)

    await eventually(away, within_s=30)
    return agent_id
