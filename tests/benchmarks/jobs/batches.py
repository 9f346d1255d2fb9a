"""Batches with a no-op handler over simulated agents: one of 100, eight of 100 at once, one of 10,000."""

import asyncio
import time
from typing import Final

import msgspec

from tests.benchmarks.client.commands import BatchTimes, Submitter, open_submitter
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Spread, Target, median
from tests.benchmarks.raw.batch_road import Hops, measure_hops
from tests.benchmarks.system import System, fleet_ids

_SMALL: Final = 100
_ROUNDS: Final = 60
_AT_ONCE: Final = 8
_AT_ONCE_ROUNDS: Final = 10
_LARGE: Final = 10_000
_LARGE_ROUNDS: Final = 3
_HOPS: Final = "sum of the bare hops"


async def measure_small(system: System) -> Measurement:
    """Job `batch_100`."""
    hops = await measure_hops(system.nats_url, system.redis_url, children=_SMALL)
    async with system.fleet("batch", _SMALL):
        agents = fleet_ids("batch", _SMALL)
        async with open_submitter(system.endpoint, in_flight=_AT_ONCE) as submitter:
            await _batches(submitter, agents, rounds=10)  # warm-up
            times = await _batches(submitter, agents, rounds=_ROUNDS)
            results_per_s = [await _at_once(submitter, agents) for _ in range(_AT_ONCE_ROUNDS)]
    spread = Spread.of([each.ended_ms for each in times])
    return Measurement(
        job="batch_100",
        figures=(
            Figure(
                what="batch over 100 agents, all results known, p50",
                value=spread.p50,
                unit="ms",
                raw=Raw(value=hops.sum_ms, what=_HOPS),
                target=Target(bound=Bound.AT_MOST, limit=20, stretch=11),
            ),
            Figure(
                what="eight such at once",
                value=median(results_per_s),
                unit="results/s",
                target=Target(bound=Bound.AT_LEAST, limit=20_000, stretch=32_000),
            ),
        ),
        details={**_hops(hops), "batch p99, ms": spread.p99},
    )


async def measure_large(system: System) -> Measurement:
    """Job `batch_10000`."""
    hops = await measure_hops(system.nats_url, system.redis_url, children=_LARGE)
    began_s = time.perf_counter()
    async with system.fleet("large", _LARGE):
        opened_s = time.perf_counter() - began_s
        agents = fleet_ids("large", _LARGE)
        async with open_submitter(system.endpoint, in_flight=1) as submitter:
            before_s = system.cpu_s()
            times = await _batches(submitter, agents, rounds=_LARGE_ROUNDS)
            after_s = system.cpu_s()
    return Measurement(
        job="batch_10000",
        figures=(
            Figure(
                what="batch over 10,000 agents, POST answered",
                value=median([each.answered_ms for each in times]),
                unit="ms",
                target=Target(bound=Bound.AT_MOST, limit=250),
            ),
            Figure(
                what="the same, all results known",
                value=median([each.ended_ms for each in times]),
                unit="ms",
                raw=Raw(value=hops.sum_ms, what=_HOPS),
                target=Target(bound=Bound.AT_MOST, limit=1500, stretch=600),
            ),
        ),
        details={
            **_hops(hops),
            "10,000 links opened, s": opened_s,
            **{
                f"CPU ms per batch, {name}": round((after_s[name] - before_s[name]) * 1000 / _LARGE_ROUNDS, 1)
                for name in after_s
            },
        },
    )


async def _batches(submitter: Submitter, agents: list[str], *, rounds: int) -> list[BatchTimes]:
    return [await submitter.run_batch(agents, "noop") for _ in range(rounds)]


async def _at_once(submitter: Submitter, agents: list[str]) -> float:
    """Results per second."""
    began_s = time.perf_counter()
    await asyncio.gather(*(submitter.run_batch(agents, "noop") for _ in range(_AT_ONCE)))
    return _AT_ONCE * len(agents) / (time.perf_counter() - began_s)


def _hops(hops: Hops) -> dict[str, float | str]:
    return {
        f"bare hop {name}, ms": round(took_ms, 2) for name, took_ms in msgspec.structs.asdict(hops).items()
    }
