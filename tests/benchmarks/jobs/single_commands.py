"""Single commands with a no-op handler: POST → end seen on the event stream."""

from typing import Final

from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.load import Load, keep_in_flight
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Spread, Target
from tests.benchmarks.raw import http_echo, publish
from tests.benchmarks.system import System, fleet_ids

_FLEET: Final = 100
_IN_FLIGHT: Final = 100


async def measure(system: System) -> Measurement:
    round_trip = Spread.of(await publish.sequential_round_trips_ms(system.nats_url))
    publishes_per_s = await publish.publishes_per_s(system.nats_url, in_flight=_IN_FLIGHT)
    echoes_per_s = await http_echo.posts_per_s(connections=64)
    async with system.fleet("single", _FLEET):
        agents = fleet_ids("single", _FLEET)
        alone = await _load(system, agents, in_flight=1)
        many = await _load(system, agents, in_flight=_IN_FLIGHT)
        one_agent = await _load(system, agents[:1], in_flight=_IN_FLIGHT)
    quick, busy = Spread.of(alone.latencies_ms), Spread.of(many.latencies_ms)
    return Measurement(
        job="single_commands",
        figures=(
            Figure(
                what="single command, one at a time, p50",
                value=quick.p50,
                unit="ms",
                raw=Raw(value=round_trip.p50, what="js.publish, one at a time"),
                target=Target(bound=Bound.AT_MOST, limit=15, stretch=9, times_raw=True),
            ),
            Figure(
                what="the same, p99",
                value=quick.p99,
                unit="ms",
                target=Target(bound=Bound.AT_MOST, limit=3 * quick.p50),
            ),
            Figure(
                what="single commands, 100 in flight, 100 agents",
                value=many.per_s,
                unit="/s",
                raw=Raw(value=publishes_per_s, what="js.publish, 100 in flight"),
                target=Target(bound=Bound.AT_LEAST, limit=0.08, stretch=0.12, times_raw=True),
            ),
            Figure(
                what="the same, p99",
                value=busy.p99,
                unit="ms",
                target=Target(bound=Bound.AT_MOST, limit=60),
            ),
            Figure(
                what="single commands, 100 in flight, 1 agent",
                value=one_agent.per_s,
                unit="/s",
                raw=Raw(value=echoes_per_s, what="Litestar echo, 64 connections"),
                target=Target(bound=Bound.AT_LEAST, limit=0.5, stretch=0.9, times_raw=True),
            ),
        ),
        details={
            **_cpu("one at a time", alone),
            **_cpu("100 in flight, 100 agents", many),
            **_cpu("100 in flight, 1 agent", one_agent),
        },
    )


async def _load(system: System, agents: list[str], *, in_flight: int) -> Load:
    bodies = [command_body(agent_id, "noop") for agent_id in agents]
    async with open_submitter(system.endpoint, in_flight=in_flight) as submitter:
        return await keep_in_flight(
            system, lambda number: submitter.run_command(bodies[number % len(bodies)]), in_flight=in_flight
        )


def _cpu(load_name: str, load: Load) -> dict[str, float | str]:
    return {
        f"CPU µs per command, {load_name}, {process}": used_us for process, used_us in load.cpu_us.items()
    }
