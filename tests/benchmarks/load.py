"""Closed-loop load: so many tasks, each starting its next piece of work when the last one is done."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from tests.benchmarks.system import System


class Load(NamedTuple):
    per_s: float
    latencies_ms: list[float]
    cpu_us: dict[str, float]
    """CPU time per piece of work, by process; `all` is their sum."""


async def keep_in_flight(
    system: System,
    work: Callable[[int], Awaitable[float]],
    *,
    in_flight: int,
    measure_s: float = 4.0,
    warm_up_s: float = 1.0,
) -> Load:
    """`work(number)` returns its own latency in ms; the number tells the tasks' pieces of work apart."""
    latencies_ms: list[float] = []
    began_s = time.perf_counter()
    counted_from_s, ends_s = began_s + warm_up_s, began_s + warm_up_s + measure_s

    async def keep_busy(task: int) -> None:
        number = task
        while (now_s := time.perf_counter()) < ends_s:
            latency_ms = await work(number)
            if now_s >= counted_from_s:
                latencies_ms.append(latency_ms)
            number += in_flight

    async def note_cpu() -> Mapping[str, float]:
        await asyncio.sleep(warm_up_s)
        return system.cpu_s()

    noting = asyncio.create_task(note_cpu())
    await asyncio.gather(*(keep_busy(task) for task in range(in_flight)))
    took_s = time.perf_counter() - counted_from_s
    return Load(len(latencies_ms) / took_s, latencies_ms, _per_piece(await noting, system, len(latencies_ms)))


def _per_piece(before_s: Mapping[str, float], system: System, pieces: int) -> dict[str, float]:
    used_s = {name: after_s - before_s[name] for name, after_s in system.cpu_s().items()}
    per_piece_us = {name: round(seconds * 1e6 / max(pieces, 1), 1) for name, seconds in used_s.items()}
    return {**per_piece_us, "all": round(sum(per_piece_us.values()), 1)}
