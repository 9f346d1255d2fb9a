"""The system that is measured: the embedded one, with all services as processes of their own, and what runs beside it.

Owns its start and end, the fleets, and what its processes cost. Handed to every job.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from quarterdeck.contracts.links import Carrier
from quarterdeck.embedded import ready_file
from quarterdeck.embedded.bootstrap import TENANT
from quarterdeck.embedded.main import running
from quarterdeck.embedded.ready_file import ReadySystem
from quarterdeck.embedded.settings import UpSettings
from tests.benchmarks.client.http import Endpoint, HttpPool
from tests.benchmarks.companion import Companion
from tests.benchmarks.measurement import Measurement

_LOCAL_AGENTS: Final = 2
"""One per carrier."""
_LINKED_TIMEOUT_S: Final = 60.0
_OPENING_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.1


class System:
    """Made by `start_system`."""

    def __init__(self, ready: ReadySystem) -> None:
        url = urlsplit(ready.api)
        self.endpoint: Final = Endpoint(url.hostname or "127.0.0.1", url.port or 80, ready.token)
        self.nats_url: Final = ready.nats
        self.redis_url: Final = ready.redis
        self._ready = ready

    @property
    def process_ids(self) -> Mapping[str, int]:
        """Services and brokers, by name."""
        return self._ready.pids

    def local_agent(self, carrier: Carrier) -> str:
        """The real agent that is linked over `carrier`."""
        return next(name for name, agent in self._ready.agents.items() if agent.carrier == carrier)

    def local_agent_pid(self, carrier: Carrier) -> int:
        return self._ready.agents[self.local_agent(carrier)].pid

    def cpu_s(self) -> dict[str, float]:
        """CPU time that each process has used so far."""
        used_s = {}
        local_agents = {name: agent.pid for name, agent in self._ready.agents.items()}
        for name, pid in {**self.process_ids, **local_agents}.items():
            times = psutil.Process(pid).cpu_times()
            used_s[name] = times.user + times.system
        return used_s

    @asynccontextmanager
    async def fleet(
        self, prefix: str, size: int, *, links_per_channel: int = 100
    ) -> AsyncIterator[Companion]:
        """Simulated agents `<prefix>-0` and so on, linked over gRPC, while the context lasts."""
        companion = await Companion.start(
            "tests.benchmarks.companions.fleet",
            "--nats", self.nats_url, "--server", self._ready.grpc, "--ca", self._ready.ca, "--tenant", TENANT,
            "--prefix", prefix, "--size", str(size), "--links-per-channel", str(links_per_channel),
        )  # fmt: skip
        async with companion:
            await companion.hear(_OPENING_TIMEOUT_S)
            await self._wait_linked(prefix, size)
            yield companion

    @asynccontextmanager
    async def hypervisor(
        self, agent_id: str, guest: str, data_dir: Path, *options: str
    ) -> AsyncIterator[None]:
        """A real agent that has announced `guest`, linked over gRPC, while the context lasts."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "quarterdeck.agent", "--agent-id", agent_id, "--data-dir", str(data_dir),
            "--server", f"grpc://{self._ready.grpc}", "--join-token", self._ready.join_token, *options,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await self._wait_for_agents(
                lambda agents: any(
                    agent["agent_id"] == agent_id and guest in agent["guests"] for agent in agents
                )
            )
            yield
        finally:
            process.terminate()
            await process.wait()

    async def _wait_linked(self, prefix: str, size: int) -> None:
        await self._wait_for_agents(
            lambda agents: sum(agent["agent_id"].startswith(f"{prefix}-") for agent in agents) >= size
        )

    async def _wait_for_agents(self, are_there: Callable[[list[dict[str, Any]]], bool]) -> None:
        """The api watches links as the dispatcher does: once it knows the last of them, both know all."""
        pool = await HttpPool.open(self.endpoint, 1)
        try:
            async with asyncio.timeout(_LINKED_TIMEOUT_S):
                while True:
                    if are_there((await pool.get("/api/agents?connected=true"))["agents"]):
                        return
                    await asyncio.sleep(_POLL_S)
        finally:
            pool.close()


Job = Callable[[System], Awaitable[Measurement]]
"""Measures one thing. Raises whatever went wrong: a figure that cannot be trusted is none."""


@asynccontextmanager
async def start_system(directory: Path, environ: Mapping[str, str]) -> AsyncIterator[System]:
    """A fresh system below `directory`, on free ports. Raises EmbeddedServerError."""
    settings = UpSettings(
        data_dir=directory,
        environ=dict(environ),
        agents=_LOCAL_AGENTS,
        port=0,
        grpc_port=0,
        quic_port=0,
    )
    async with running(settings) as ready:
        yield System(ready)


def running_system(ready_path: Path) -> System:
    """One that `quarterdeck up --ready-file` or `--data-dir` runs already, with one local agent per carrier."""
    ready = ready_file.read(ready_path)
    if ready is None:
        raise FileNotFoundError(ready_path)
    return System(ready)


def fleet_ids(prefix: str, size: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(size)]
