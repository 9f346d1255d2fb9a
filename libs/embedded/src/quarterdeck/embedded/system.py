"""The embedded system: brokers, services and local agents, started side by side and stopped in order.

Owns what must be up before what, and what the ready file says. How a process is kept running is the supervisor's,
how it is started is services.py's and local_agents.py's. Called by up.py and the demo.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.contracts.links import Carrier
from quarterdeck.core.clock import Clock
from quarterdeck.embedded import bootstrap, ready_file
from quarterdeck.embedded.binaries import find_nats_server, find_redis_server
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.local_agents import LocalFleet, all_connected, carrier_of
from quarterdeck.embedded.nats_server import NatsServer, NatsServerSettings
from quarterdeck.embedded.ports import PortBook, is_free
from quarterdeck.embedded.ready_file import LocalAgent, ReadySystem
from quarterdeck.embedded.redis_server import RedisServer, RedisServerSettings
from quarterdeck.embedded.server_errors import AgentsNotConnected, PortTaken
from quarterdeck.embedded.services import (
    API,
    GRPC_GATEWAY,
    QUIC_GATEWAY,
    Services,
    Surroundings,
    plain_name,
)
from quarterdeck.embedded.settings import UpSettings
from quarterdeck.embedded.supervisor import Supervisor, Unit

NATS: Final = "nats"
REDIS: Final = "redis"

_CONNECT_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05


class EmbeddedSystem:
    """From `start` to `close`; the caller holds the lock of the data directory."""

    def __init__(self, settings: UpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._data_dir = DataDir.at(settings.data_dir)
        self._ports = PortBook(self._data_dir.ports_file)
        self._supervisor = Supervisor(clock, self._on_restart)
        self._agents: dict[str, Carrier] = {}
        self._ready: ReadySystem | None = None

    async def start(self) -> ReadySystem:
        """Returns when everything is ready, and the ready file says so.

        Raises EmbeddedServerError, and leaves to `close` what was already started.
        """
        self._check_ports()
        trust, urls = await asyncio.gather(
            asyncio.to_thread(bootstrap.load_or_create, self._data_dir), self._start_brokers()
        )
        nats_url, redis_url = urls
        services = Services(
            Surroundings(
                data_dir=self._data_dir,
                environ=self._settings.environ,
                trust=trust,
                nats_url=nats_url,
                redis_url=redis_url,
                log_level=self._settings.log_level,
                admit_dialects=self._settings.admit_dialects,
            )
        )
        quic, grpc, others = self._service_units(services)
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(bootstrap.register(nats_url, trust, self._clock))
                starting.create_task(self._supervisor.start_all(others))
                starting.create_task(self._start_fleet(services, quic, grpc, trust))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        api_url = f"http://{services.address(API)}"
        await self._await_agents(api_url, trust.api_token)
        for name, listener in services.listeners.items():
            self._ports.remember(name, listener.port)
        self._ready = ReadySystem(
            api=api_url,
            token=trust.api_token,
            grpc=services.address(GRPC_GATEWAY),
            quic=services.address(QUIC_GATEWAY),
            plain_grpc=(
                None if self._settings.plain_grpc_port is None else services.address(plain_name(GRPC_GATEWAY))
            ),
            ca=str(trust.ca),
            join_token=trust.join_token,
            nats=nats_url,
            redis=redis_url,
            data_dir=str(self._data_dir.root),
            pids={},
            up_pid=os.getpid(),
        )
        return self._write_ready(self._ready)

    async def close(self) -> None:
        """Agents first, brokers last: everybody drains to somebody who is still there."""
        self._ready = None
        for path in self._ready_paths():
            ready_file.remove(path)
        brokers = {NATS, REDIS}
        services = [name for name in self._supervisor.names if name not in brokers | self._agents.keys()]
        gateways = [name for name in services if name.startswith((QUIC_GATEWAY, GRPC_GATEWAY))]
        for tier in (list(self._agents), gateways, services, list(brokers)):
            await self._supervisor.stop(*tier)

    def _check_ports(self) -> None:
        wanted = (
            ("--port", self._settings.port, False),
            ("--grpc-port", self._settings.grpc_port, False),
            ("--plain-grpc-port", self._settings.plain_grpc_port, False),
            ("--quic-port", self._settings.quic_port, True),
        )
        for flag, port, udp in wanted:
            if port and not is_free(port, udp=udp):
                raise PortTaken(flag, port)

    async def _start_brokers(self) -> tuple[str, str]:
        return await asyncio.gather(self._start_nats(), self._start_redis())

    async def _start_nats(self) -> str:
        if self._settings.nats_url is not None:
            return self._settings.nats_url
        binary = await asyncio.to_thread(find_nats_server, search_path=self._search_path)
        server = NatsServer(
            NatsServerSettings(binary=binary, server_dir=self._data_dir.nats, port=self._ports.last(NATS))
        )
        await self._supervisor.start(NATS, server)
        self._ports.remember(NATS, server.port)
        return server.url

    async def _start_redis(self) -> str:
        if self._settings.redis_url is not None:
            return self._settings.redis_url
        binary = await asyncio.to_thread(find_redis_server, search_path=self._search_path)
        server = RedisServer(
            RedisServerSettings(binary=binary, server_dir=self._data_dir.redis, port=self._ports.last(REDIS))
        )
        await self._supervisor.start(REDIS, server)
        self._ports.remember(REDIS, int(server.url.rpartition(":")[2].removesuffix("/0")))
        return server.url

    @property
    def _search_path(self) -> str | None:
        return self._settings.environ.get("PATH")

    def _service_units(self, services: Services) -> tuple[dict[str, Unit], dict[str, Unit], dict[str, Unit]]:
        settings, last = self._settings, self._ports
        quic: dict[str, Unit] = {}
        grpc: dict[str, Unit] = {}
        for number in range(1, settings.gateways_per_kind + 1):
            name = _numbered(QUIC_GATEWAY, number)
            wanted = settings.quic_port if number == 1 else 0
            quic[name] = services.quic_gateway(name, wanted or last.last(name, udp=True))
            name = _numbered(GRPC_GATEWAY, number)
            wanted = settings.grpc_port if number == 1 else 0
            grpc[name] = services.grpc_gateway(
                name, wanted or last.last(name), self._plain_port() if number == 1 else None
            )
        units = (
            services.api(settings.port or last.last(API)),
            services.broadcaster(),
            services.dispatcher(),
            services.aggregator(),
        )
        return quic, grpc, {unit.name: unit for unit in units}

    def _plain_port(self) -> int | None:
        wanted = self._settings.plain_grpc_port
        return wanted or (None if wanted is None else self._ports.last(plain_name(GRPC_GATEWAY)))

    async def _start_fleet(
        self, services: Services, quic: dict[str, Unit], grpc: dict[str, Unit], trust: bootstrap.Trust
    ) -> None:
        """Gateways, and the agents as soon as these can be reached."""
        await self._supervisor.start_all({**quic, **grpc})
        fleet = LocalFleet(
            data_dir=self._data_dir,
            environ=self._settings.environ,
            trust=trust,
            servers={
                Carrier.QUIC: [services.address(name) for name in quic],
                Carrier.GRPC: [services.address(name) for name in grpc],
            },
            log_level=self._settings.log_level,
        )
        self._agents = {
            f"agent-{number}": carrier_of(number) for number in range(1, self._settings.agents + 1)
        }
        units: dict[str, Unit] = {
            agent_id: fleet.unit(agent_id, carrier) for agent_id, carrier in self._agents.items()
        }
        await self._supervisor.start_all(units)

    async def _await_agents(self, api_url: str, token: str) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                # The API is asked as a user would ask it: what it sees is what commands will see.
                while self._agents and not await all_connected(api_url, token, self._agents):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise AgentsNotConnected(tuple(self._agents), self._data_dir.logs) from None

    def _on_restart(self, _name: str) -> None:
        if self._ready is not None:
            self._write_ready(self._ready)

    def _write_ready(self, ready: ReadySystem) -> ReadySystem:
        pids = self._supervisor.pids
        agents = {
            agent_id: LocalAgent(carrier=carrier, pid=pids.pop(agent_id))
            for agent_id, carrier in self._agents.items()
        }
        current = msgspec.structs.replace(ready, pids=pids, agents=agents)
        for path in self._ready_paths():
            ready_file.write(path, current)
        return current

    def _ready_paths(self) -> list[Path]:
        own, wanted = self._data_dir.ready_file, self._settings.ready_file
        return [own] if wanted is None else [own, wanted]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
