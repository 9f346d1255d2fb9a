"""Whether one that does not read slows the others: throughput with and without a stalled watcher and a stalled agent.

The two are measured in turn, several times, and compared by their medians: the machine is never quite quiet.
"""

from typing import Final

from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.client.events import EventStream
from tests.benchmarks.load import keep_in_flight
from tests.benchmarks.measurement import Bound, Figure, Measurement, Target, median
from tests.benchmarks.system import System, fleet_ids

_FLEET: Final = 50
_IN_FLIGHT: Final = 50
_ROUNDS: Final = 5
_ROUND_S: Final = 1.5
_STALLED: Final = "stalled-0"
_ORDERS_FOR_STALLED: Final = 200


async def measure(system: System) -> Measurement:
    async with system.fleet("stalled", _FLEET) as fleet:
        agents = fleet_ids("stalled", _FLEET)[1:]
        await _per_s(system, agents)  # warm-up
        before = [await _per_s(system, agents) for _ in range(_ROUNDS)]
        await fleet.ask({"do": "stall", "agent_id": _STALLED})
        watcher = await EventStream.open(system.endpoint, "/api/events?from=now", lambda _event: None)
        watcher.stop_reading()
        async with open_submitter(system.endpoint, in_flight=1) as submitter:
            for _ in range(_ORDERS_FOR_STALLED):
                head = system.endpoint.head("POST", "/api/command", "Content-Type: application/json")
                await submitter.pool.send(head, command_body(_STALLED, "noop"))
        during = [await _per_s(system, agents) for _ in range(_ROUNDS)]
        watcher.close()
    slower_percent = (1 - median(during) / median(before)) * 100
    return Measurement(
        job="stalled",
        figures=(
            Figure(
                what="slower for a stalled watcher and a stalled agent",
                value=max(slower_percent, 0.0),
                unit="%",
                target=Target(bound=Bound.AT_MOST, limit=10, stretch=3),
            ),
        ),
        details={"before, /s": median(before), "during, /s": median(during)},
    )


async def _per_s(system: System, agents: list[str]) -> float:
    bodies = [command_body(agent_id, "noop") for agent_id in agents]
    async with open_submitter(system.endpoint, in_flight=_IN_FLIGHT) as submitter:
        load = await keep_in_flight(
            system,
            lambda number: submitter.run_command(bodies[number % len(bodies)]),
            in_flight=_IN_FLIGHT,
            measure_s=_ROUND_S,
            warm_up_s=0.3,
        )
    return load.per_s
