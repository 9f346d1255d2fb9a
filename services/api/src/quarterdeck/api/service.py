"""The life of the api service: parts put together, the server started, drained and stopped."""

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import structlog

from quarterdeck.api.application import api_application
from quarterdeck.api.completions import Completions
from quarterdeck.api.fleet import Fleet
from quarterdeck.api.in_flight import InFlight
from quarterdeck.api.intake import Intake, Limits
from quarterdeck.api.parts import Parts
from quarterdeck.api.policies import Policies
from quarterdeck.api.recall import Recall
from quarterdeck.api.settings import ApiSettings
from quarterdeck.api.tunnel import Tunnel
from quarterdeck.core.halts import Halts
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import LinkRoster
from quarterdeck.core.runtime import ServiceContext, Wants
from quarterdeck.web.server import HttpServer, HttpSettings
from quarterdeck.web.tickets import Tickets

if TYPE_CHECKING:
    from quarterdeck.api.rate_limits import RateLimits

log = structlog.get_logger()

WANTS: Final = Wants(store=True, health_server=False)


class ApiService:
    name: ClassVar[str] = "api"

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        roster = LinkRoster(ctx.registry, ctx.clock)
        parts = assemble(ctx, self._settings, roster)
        url = self._settings.broadcaster_url
        server = HttpServer(
            api_application(parts),
            HttpSettings(
                host=self._settings.host,
                port=self._settings.port,
                port_file=self._settings.port_file,
                unix_socket=self._settings.unix_socket,
                drain_s=self._settings.drain_s,
            ),
            sockets=None if url is None else partial(Tunnel, url),
        )
        # Serving starts first: health says `starting` while the registry is not loaded.
        await server.start()
        log.info("api.listening", port=server.port)
        try:
            await self._load(ctx, roster)
            await ctx.stopping.wait()
        finally:
            parts.completions.release()
            await server.stop()
            await parts.completions.close()
            await parts.limits.in_flight.close()
            await roster.close()

    async def _load(self, ctx: ServiceContext, roster: LinkRoster) -> None:
        await ctx.registry.tokens.watch()
        await ctx.registry.agents.watch()
        await ctx.registry.policies.watch()
        await roster.start()
        ctx.ready()


def assemble(ctx: ServiceContext, settings: ApiSettings, roster: LinkRoster) -> Parts:
    """All that the routes stand on. Starts nothing."""
    relay = Relay(ctx.bus, ctx.store)
    limits = Limits(
        policies=Policies(ctx.registry, ctx.bus, ctx.clock),
        in_flight=InFlight(ctx.store, ctx.clock, limit=settings.max_in_flight),
        recall=Recall(ctx.store, ctx.clock),
        rates=_rates(ctx, settings),
    )
    return Parts(
        settings=settings,
        clock=ctx.clock,
        bus=ctx.bus,
        store=ctx.store,
        registry=ctx.registry,
        roster=roster,
        fleet=Fleet(ctx.registry, roster),
        health=ctx.health,
        relay=relay,
        intake=Intake(ctx.store, relay, limits),
        limits=limits,
        halts=Halts(ctx.store, relay, ctx.clock),
        completions=Completions(ctx.bus),
        tickets=Tickets(ctx.registry, ctx.clock),
    )


def _rates(ctx: ServiceContext, settings: ApiSettings) -> "RateLimits | None":
    """None where no rate is set: the library behind it takes a third of a second to load."""
    if not (settings.write_rate or settings.read_rate or settings.client_rate):
        return None
    from quarterdeck.api.rate_limits import RateLimits

    return RateLimits(
        ctx.store, reads=settings.read_rate, writes=settings.write_rate, commands=settings.client_rate
    )
