"""One batch with output, watched by 1,000: how many events per second reach all of them together.

The agents begin to write only when everybody watches, and write each chunk after the one before was stored, so that
each chunk is one event. The raw twin sends as many events of the same size through Litestar, without a feed behind it.
"""

import asyncio
import time
from typing import Any, Final

from tests.benchmarks.client.commands import open_submitter
from tests.benchmarks.client.http import Endpoint
from tests.benchmarks.companion import Companion
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Target
from tests.benchmarks.system import System, fleet_ids

_WATCHERS: Final = 1000
_AGENTS: Final = 50
_CHUNKS: Final = 40
"""Per agent."""
_CHUNK_BYTES: Final = 100
_RAW_BURST: Final = 50
_CROWD: Final = "tests.benchmarks.companions.crowd"


async def measure(system: System) -> Measurement:
    async with await Companion.start(_CROWD) as crowd, system.fleet("fanout", _AGENTS) as fleet:
        product, took_s = await _product(system, crowd, fleet)
        per_watcher = round(product["events"] / _WATCHERS)
        raw_per_s = await _raw(
            crowd, events=per_watcher, size_bytes=round(product["bytes"] / product["events"])
        )
    return Measurement(
        job="fanout",
        figures=(
            Figure(
                what="events to 1,000 watchers of one batch",
                value=product["events"] / took_s,
                unit="events/s",
                raw=Raw(value=raw_per_s, what="coalesced Litestar stream"),
                target=Target(bound=Bound.AT_LEAST, limit=0.5, stretch=0.8, times_raw=True),
            ),
        ),
        details={
            "events per watcher": product["events"] / _WATCHERS,
            "events expected per watcher, at least": float(_AGENTS * _CHUNKS),
            "bytes per event": product["bytes"] / product["events"],
        },
    )


async def _product(system: System, crowd: Companion, fleet: Companion) -> tuple[Any, float]:
    """What the crowd got, and in how many seconds."""
    await fleet.ask({"do": "hush"})
    async with open_submitter(system.endpoint, in_flight=1) as submitter:
        payload = {"chunks": _CHUNKS, "bytes": _CHUNK_BYTES}
        batch_id = await submitter.submit_batch(fleet_ids("fanout", _AGENTS), "emit", payload)
        await _watch(crowd, system.endpoint, f"/api/batch_commands/{batch_id}/events")
        began_s = time.monotonic()
        await fleet.ask({"do": "speak"})
        received = await crowd.hear(120)
        await submitter.end_of(batch_id)
    return received, received["ended_s"] - began_s


async def _raw(crowd: Companion, *, events: int, size_bytes: int) -> float:
    async with await Companion.start("tests.benchmarks.raw.sse_stream") as server:
        endpoint = Endpoint("127.0.0.1", (await server.hear())["port"], "none")
        await _watch(crowd, endpoint, "/events")
        began_s = time.monotonic()
        await server.tell({"events": events, "bytes": size_bytes, "burst": _RAW_BURST})
        received = await crowd.hear(120)
    return float(received["events"] / (received["ended_s"] - began_s))


async def _watch(crowd: Companion, endpoint: Endpoint, path: str) -> None:
    """Returns when all watch and have been told what was before."""
    await crowd.ask({**endpoint._asdict(), "path": path, "watchers": _WATCHERS})
    await asyncio.sleep(1)
