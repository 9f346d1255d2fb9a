"""What a service is, and what the runtime hands to it."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import msgspec

from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Registry
from quarterdeck.core.runtime.health import Health
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.core.settings import CoreSettings

if (
    TYPE_CHECKING
):  # redis-py costs 0.2 s and 10 MB: gateways and broadcasters that never ask for it do not pay
    from quarterdeck.core.store import Store


class Wants(msgspec.Struct, frozen=True, kw_only=True):
    """What a service needs of the runtime beyond bus and registry."""

    store: bool = False
    uvloop: bool = True
    """Never for what spawns processes: uvloop is up to six times slower at it (`just bench`)."""
    health_server: bool = True
    """False for services that answer the health paths on their own port."""


PLAIN: Final = Wants()


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """Everything that a service may touch. Lives exactly as long as `Service.run`."""

    settings: CoreSettings
    service_id: str
    bus: Bus
    registry: Registry
    clock: Clock
    health: Health
    tasks: TaskSet
    stopping: asyncio.Event
    """Set on SIGTERM and SIGINT: take no more work, finish what is begun, return."""
    maybe_store: "Store | None" = None

    @property
    def store(self) -> "Store":
        """Redis, for services that want it. Raises RuntimeError for others."""
        if self.maybe_store is None:
            raise RuntimeError("this service did not ask for the store")
        return self.maybe_store

    def ready(self) -> None:
        """The service can do its work from now on."""
        self.health.mark_ready()


class Service(Protocol):
    """One of the six. `run` returns after a drain; raising is a crash."""

    name: ClassVar[str]

    async def run(self, ctx: ServiceContext) -> None: ...
