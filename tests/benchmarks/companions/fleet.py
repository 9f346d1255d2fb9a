"""A simulated fleet in a process of its own. Says `{"linked": n}`, then leaves when its standard input ends.

Does what it is told, to all agents or, with `"agent_id"`, to one of them, and repeats it as its answer:
`{"do": "hush"}` holds back the output of `emit` commands, `{"do": "speak"}` lets it out, `{"do": "stall"}` makes the
agent stop reading.
"""

import argparse
import logging
import sys
from pathlib import Path

import structlog

from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.links import Carrier
from quarterdeck.core.bus import Bus
from quarterdeck.core.collector import calm_collector
from quarterdeck.core.registry import Registry
from quarterdeck.testing.fleet import Fleet, FleetSettings
from tests.benchmarks.companion import Benchmark, run_companion


def _settings(arguments: argparse.Namespace) -> FleetSettings:
    host, _, port = arguments.server.rpartition(":")
    return FleetSettings(
        server=ServerAddress(Carrier.GRPC, host, int(port)),
        ca_pem=Path(arguments.ca).read_bytes(),
        size=arguments.size,
        tenant=arguments.tenant,
        prefix=arguments.prefix,
        links_per_channel=arguments.links_per_channel,
    )


async def main(benchmark: Benchmark) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--server", required=True, help="host:port of a gRPC gateway")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--links-per-channel", type=int, required=True)
    arguments = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    bus = await Bus.connect(arguments.nats, name="benchmark-fleet")
    fleet = await Fleet.open(_settings(arguments), Registry(bus))
    calm_collector()  # or the fleet would be what is measured
    benchmark.tell({"linked": len(fleet.agents)})
    while (wish := await benchmark.hear()) is not None:
        await _obey(fleet, wish)
        benchmark.tell(wish)
    await fleet.close()
    await bus.close()


async def _obey(fleet: Fleet, wish: dict[str, str]) -> None:
    for agent in fleet.agents:
        if wish.get("agent_id", agent.identity.agent_id) != agent.identity.agent_id:
            continue
        match wish["do"]:
            case "hush":
                agent.quiet = True
            case "speak":
                await agent.speak()
            case "stall":
                agent.stalled = True
            case unknown:
                raise ValueError(f"no such wish: {unknown}")


if __name__ == "__main__":
    run_companion(main)
