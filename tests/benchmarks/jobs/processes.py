"""Real processes on a real agent: `echo`, 32 in flight, beside the bare loop that only spawns it."""

from typing import Final

from quarterdeck.contracts.links import Carrier
from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.load import keep_in_flight
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Spread, Target
from tests.benchmarks.raw.spawn_loop import processes_per_s
from tests.benchmarks.system import System

_IN_FLIGHT: Final = 32


async def measure(system: System) -> Measurement:
    raw_per_s = await processes_per_s(in_flight=_IN_FLIGHT)
    body = command_body(system.local_agent(Carrier.GRPC), "exec", {"argv": ["/bin/echo", "hello"]})
    async with open_submitter(system.endpoint, in_flight=_IN_FLIGHT) as submitter:
        load = await keep_in_flight(system, lambda _: submitter.run_command(body), in_flight=_IN_FLIGHT)
    return Measurement(
        job="processes",
        figures=(
            Figure(
                what="real processes (echo), 32 in flight, one agent",
                value=load.per_s,
                unit="/s",
                raw=Raw(value=raw_per_s, what="Popen + pidfd loop"),
                target=Target(bound=Bound.AT_LEAST, limit=0.7, stretch=0.9, times_raw=True),
            ),
        ),
        details={
            "p50, ms": Spread.of(load.latencies_ms).p50,
            **{f"CPU µs per command, {process}": used_us for process, used_us in load.cpu_us.items()},
        },
    )
