"""What goes wrong, one scene each: something prints without end, or something that should read does not.

Each scene measures the pace of others before, during and after, and the peak memory of every process; each puts right
what it broke. Judging is report.py's and the end-to-end test's.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import psutil

from quarterdeck.contracts.limits import MAX_OUTPUT_BYTES
from tests.benchmarks.client.http import Endpoint, HttpPool
from tests.chaos.back_pressure.memory import MemoryWatch, processes
from tests.chaos.back_pressure.pace import Pace, Trickle, end_of, submit
from tests.e2e.system import System

_WATCHERS: Final = 200
_ORDERS: Final = 300
_ORDER_BYTES: Final = 20_000
_SILENT_AT_MOST_S: Final = 15.0
"""Keepalive ends the link of an agent that stands still (services/grpc-gateway); what was not written to it is then
unreachable, by proof."""
_LEAD_S: Final = 0.5
"""The disturbance is under way before the others' pace is measured."""


class Outcome(NamedTuple):
    """`lost`: commands of others that did not succeed, and whatever else did not end as it must."""

    scene: str
    before: Pace
    during: Pace
    after: Pace
    peak_mib: dict[str, float]
    lost: list[str]

    @property
    def p99_ratio(self) -> float:
        """Against the slower of the two undisturbed rounds: the machine is never quite quiet."""
        return self.during.ms.p99 / max(self.before.ms.p99, self.after.ms.p99)


class Ground:
    """A running system, one agent of it that makes trouble, and all others, whose pace counts."""

    def __init__(
        self, system: System, memory: MemoryWatch, *, noisy: str, undisturbed_s: float = 8.0
    ) -> None:
        url = urlsplit(system.ready["api"])
        self.system = system
        self.memory = memory
        self.noisy = noisy
        self.undisturbed_s = undisturbed_s
        """How long the others' pace is measured before and after a disturbance."""
        self.endpoint = Endpoint(url.hostname or "127.0.0.1", url.port or 80, system.ready["token"])
        self.trickle = Trickle(self.endpoint, [name for name in system.agents if name != noisy])

    async def measure(self, scene: str, seconds: float, disturb: "Disturbance") -> Outcome:
        """Raises what the disturbance raises, and TimeoutError when a command has no end."""
        before = await self.trickle.run(self.undisturbed_s)
        self.memory.reset()
        lost: list[str] = []
        async with disturb(self, lost):
            await asyncio.sleep(_LEAD_S)
            during = await self.trickle.run(seconds)
        after = await self.trickle.run(self.undisturbed_s)
        lost += before.lost + during.lost + after.lost
        return Outcome(scene, before, during, after, dict(self.memory.peak_mib), lost)


Disturbance = Callable[[Ground, list[str]], AbstractAsyncContextManager[None]]
"""Breaks something while the context lasts; appends to the list what did not end well."""
Scene = Callable[[Ground, float], Awaitable[Outcome]]


async def endless_output(ground: Ground, seconds: float) -> Outcome:
    """`yes`, all of it kept, and one watcher who does not read."""
    return await ground.measure("endless output, a watcher who does not read", seconds, _printing(watchers=1))


async def deaf_watchers(ground: Ground, seconds: float) -> Outcome:
    return await ground.measure(
        f"endless output, {_WATCHERS} watchers who do not read", seconds, _printing(watchers=_WATCHERS)
    )


async def stopped_aggregator(ground: Ground, seconds: float) -> Outcome:
    return await ground.measure("aggregator stopped", seconds, _stopped("aggregator", seconds))


async def stopped_broadcaster(ground: Ground, seconds: float) -> Outcome:
    return await ground.measure("broadcaster stopped", seconds, _stopped("broadcaster", seconds))


async def deaf_agent(ground: Ground, seconds: float) -> Outcome:
    """An agent that does not read its orders, and gets many."""
    within_s = min(seconds, _SILENT_AT_MOST_S)
    return await ground.measure("an agent that does not read", within_s, _not_reading_orders)


SCENES: Final[dict[str, Scene]] = {
    "endless": endless_output,
    "watchers": deaf_watchers,
    "aggregator": stopped_aggregator,
    "broadcaster": stopped_broadcaster,
    "agent": deaf_agent,
}


def _printing(*, watchers: int) -> Disturbance:
    @asynccontextmanager
    async def disturb(ground: Ground, lost: list[str]) -> AsyncIterator[None]:
        pool = await HttpPool.open(ground.endpoint, 1)
        argv = {"argv": ["/usr/bin/yes"]}
        command_id = await submit(pool, ground.noisy, "exec", argv, max_output_bytes=MAX_OUTPUT_BYTES)
        deaf = [await _deaf_watcher(ground.endpoint, command_id) for _ in range(watchers)]
        try:
            yield
        finally:
            await pool.post(f"/api/command/{command_id}/terminate", {})
            ended = await end_of(pool, command_id)
            for watcher in deaf:
                watcher.transport.abort()
            pool.close()
        if ended["state"] != "terminated" or not ended["stdout"].get("verified"):
            lost.append(f"{command_id}: {ended['state']}, {ended['stdout']}")

    return disturb


async def _deaf_watcher(endpoint: Endpoint, command_id: str) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(endpoint.head("GET", f"/api/command/{command_id}/events") + b"\r\n")
    await writer.drain()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    del reader
    return writer


def _stopped(service: str, seconds: float) -> Disturbance:
    """Continues before the measurement ends, because nothing of others ends before that."""

    @asynccontextmanager
    async def disturb(ground: Ground, lost: list[str]) -> AsyncIterator[None]:
        process = psutil.Process(ground.system.ready["pids"][service])
        with _frozen([process]):
            going_on = asyncio.get_running_loop().call_later(seconds, process.send_signal, signal.SIGCONT)
            try:
                yield
            finally:
                going_on.cancel()

    return disturb


@asynccontextmanager
async def _not_reading_orders(ground: Ground, lost: list[str]) -> AsyncIterator[None]:
    pool = await HttpPool.open(ground.endpoint, 20)
    name = f"agent {ground.noisy}"
    of_agent = [process for found, process in processes(ground.system) if found.startswith(name)]
    payload = {"argv": ["/bin/true", "x" * _ORDER_BYTES]}
    try:
        with _frozen(of_agent):
            ids = await asyncio.gather(*(submit(pool, ground.noisy, "exec", payload) for _ in range(_ORDERS)))
            yield
        ends = await asyncio.gather(*(end_of(pool, command_id) for command_id in ids))
        lost += [f"{end['command_id']}: {end['state']}" for end in ends if end["state"] != "succeeded"]
    finally:
        pool.close()


@contextmanager
def _frozen(frozen: list[psutil.Process]) -> Iterator[None]:
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)
