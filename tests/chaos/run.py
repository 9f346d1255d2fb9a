"""One run: a system, a load, havoc, a quiet phase, and the verdicts."""

import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import redis.asyncio

from quarterdeck.testing.checker import Verdict, check
from quarterdeck.testing.oracle import Oracle
from tests.chaos.client import Client
from tests.chaos.feed import Feed
from tests.chaos.gathering import evidence, gather, quiet
from tests.chaos.havoc import FLUSH, Havoc, Strike
from tests.chaos.load import Load
from tests.chaos.watching import Gallery
from tests.e2e.system import System

_WATCHERS: Final = 30


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, for how long. The same plan draws the same orders and the same faults."""

    seed: int
    duration_s: float
    commands: int
    agents: int = 20
    flush_every_s: float | None = None
    """How often all of Redis is lost; None: never."""
    quiet_s: float = 60
    """Within this after the last fault everything must have ended."""


class Outcome(msgspec.Struct, kw_only=True):
    plan: Plan
    verdicts: list[Verdict]
    strikes: list[Strike]
    flushes: int
    seconds: float
    quiet_took_s: float
    transient_failures: dict[str, int]
    """What clients met and repeated, by kind."""
    refusals: list[str]
    """What clients met and cannot explain."""
    late: list[str]
    """Ids that had not ended within the quiet phase."""

    @property
    def killed(self) -> dict[str, int]:
        """SIGKILLs by role."""
        return dict(
            Counter(
                strike.role
                for strike in self.strikes
                if strike.stopped_for_s is None and strike.role != FLUSH
            )
        )

    @property
    def stopped(self) -> dict[str, int]:
        """SIGSTOPs by role."""
        return dict(Counter(strike.role for strike in self.strikes if strike.stopped_for_s is not None))

    @property
    def kept(self) -> bool:
        return not self.refusals and all(verdict.kept for verdict in self.verdicts)


async def run(plan: Plan, directory: Path) -> Outcome:
    """`directory` keeps the system's data and logs, and the oracle's file."""
    began_s = time.monotonic()
    options = ("--gateways-per-kind", "2", "--agents", str(plan.agents))
    async with System.running(directory / "data", *options) as system:
        client = Client(system)
        oracle = Oracle(directory / "oracle")
        load = Load(client, oracle, system.agents, plan.seed, plan.commands)
        gallery = Gallery(client, plan.seed)
        havoc = Havoc(
            system,
            plan.seed,
            flush=_flusher(system) if plan.flush_every_s is not None else None,
            flush_every_s=plan.flush_every_s or 0,
        )
        async with gallery.following(load.orders, most=_WATCHERS, every_s=plan.duration_s / _WATCHERS):
            async with havoc.raging():
                await load.run(plan.duration_s)
        calm_since_s = time.monotonic()
        late = await quiet(client, load.orders, within_s=plan.quiet_s)
        quiet_took_s = time.monotonic() - calm_since_s
        await gallery.finish(within_s=20)
        havoc.sample_memory()
        async with Feed.opened(system.ready["nats"]) as feed:
            gathered = await gather(client, load.orders)
            found = await evidence(gathered, load.orders, oracle, feed)
            attempts = {seen.command_id: seen.attempt for seen in gathered.commands.values()}
            watched = await gallery.evidence(feed, attempts)
        await client.http.aclose()
        found = msgspec.structs.replace(
            found, watched=watched, peak_bytes=havoc.peak_bytes, flushes=havoc.flushes
        )
        return Outcome(
            plan=plan,
            verdicts=check(found),
            strikes=havoc.strikes,
            flushes=havoc.flushes,
            seconds=time.monotonic() - began_s,
            quiet_took_s=quiet_took_s,
            transient_failures=client.transient_failures,
            refusals=client.refusals,
            late=late,
        )


def _flusher(system: System) -> Callable[[], Awaitable[None]]:
    async def flush() -> None:
        async with redis.asyncio.from_url(system.ready["redis"]) as server:
            with contextlib.suppress(redis.exceptions.RedisError):  # it may just have been killed
                await server.flushall()

    return flush
