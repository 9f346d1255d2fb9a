"""What Quarterdeck costs while nothing happens: memory per idle link, of each process, and CPU with 1,000 agents."""

import asyncio
from typing import Final

import psutil

from quarterdeck.contracts.links import Carrier
from tests.benchmarks.measurement import Bound, Figure, Measurement, Target
from tests.benchmarks.system import System

_LINKS: Final = 500
_IDLE_AGENTS: Final = 1000
_IDLE_S: Final = 10.0
_SETTLE_S: Final = 2.0
_MB: Final = 1_000_000
_GATEWAY: Final = "grpc-gateway"
_BROKERS: Final = frozenset({"nats", "redis"})


async def measure(system: System) -> Measurement:
    """First of all jobs: the services have done nothing yet but start."""
    await asyncio.sleep(_SETTLE_S)
    services_mb = {
        name: _rss_bytes(pid) / _MB for name, pid in system.process_ids.items() if name not in _BROKERS
    }
    agents_mb = {carrier: _agent_bytes(system.local_agent_pid(carrier)) / _MB for carrier in Carrier}
    link_kb = await _link_kb(system)
    cpu_percent = await _idle_cpu_percent(system)
    return Measurement(
        job="footprint",
        figures=(
            Figure(
                what="memory of the gRPC gateway per idle agent, own TLS connection",
                value=link_kb,
                unit="kB",
                target=Target(bound=Bound.AT_MOST, limit=120, stretch=60),
            ),
            Figure(
                what="memory of an agent, executor and front",
                value=max(agents_mb.values()),
                unit="MB",
                target=Target(bound=Bound.AT_MOST, limit=60, stretch=45),
            ),
            Figure(
                what="memory of the largest service, idle",
                value=max(services_mb.values()),
                unit="MB",
                target=Target(bound=Bound.AT_MOST, limit=70, stretch=50),
            ),
            Figure(
                what="CPU of services and brokers with 1,000 idle agents",
                value=sum(cpu_percent.values()),
                unit="% of a core",
                target=Target(bound=Bound.AT_MOST, limit=3, stretch=1),
            ),
        ),
        details={
            **{f"RSS of {name}, MB": round(mb, 1) for name, mb in services_mb.items()},
            **{f"PSS of the agent over {carrier}, MB": round(mb, 1) for carrier, mb in agents_mb.items()},
            **{f"idle CPU of {name}, %": round(percent, 2) for name, percent in cpu_percent.items()},
        },
    )


async def _link_kb(system: System) -> float:
    gateway_pid = system.process_ids[_GATEWAY]
    async with system.fleet("warm", 20, links_per_channel=1):
        await asyncio.sleep(_SETTLE_S)  # what the first links cost once is not theirs
    before_bytes = _rss_bytes(gateway_pid)
    async with system.fleet("idle", _LINKS, links_per_channel=1):
        await asyncio.sleep(_SETTLE_S)
        return (_rss_bytes(gateway_pid) - before_bytes) / _LINKS / 1000


async def _idle_cpu_percent(system: System) -> dict[str, float]:
    """By process, over some seconds, heartbeats included."""
    async with system.fleet("still", _IDLE_AGENTS):
        await asyncio.sleep(_SETTLE_S)
        before_s = system.cpu_s()
        await asyncio.sleep(_IDLE_S)
        return {name: (after_s - before_s[name]) / _IDLE_S * 100 for name, after_s in system.cpu_s().items()}


def _agent_bytes(executor_pid: int) -> int:
    """Proportional: the two processes of an agent run the same interpreter, whose pages they share."""
    executor = psutil.Process(executor_pid)
    return sum(int(process.memory_full_info().pss) for process in (executor, *executor.children()))


def _rss_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
