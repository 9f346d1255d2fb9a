"""The life of a service: connect, run, drain on SIGTERM, end with an exit code that tells how it went.

Owns signals, the order in which parts start and end, and the time a drain may take. Called by each main.py.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from quarterdeck.contracts.errors import QuarterdeckError, Unavailable
from quarterdeck.contracts.ids import new_id
from quarterdeck.core import failpoints, logging, telemetry
from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.collector import calm_collector
from quarterdeck.core.registry import Registry
from quarterdeck.core.runtime.health import Health
from quarterdeck.core.runtime.http import HealthServer
from quarterdeck.core.runtime.service import PLAIN, Service, ServiceContext, Wants
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.core.settings import CoreSettings

if TYPE_CHECKING:
    from quarterdeck.core.store import Store

log = structlog.get_logger()

EXIT_NOT_DRAINED: Final = 1
EXIT_CRASHED: Final = 70
"""Source: sysexits.h, EX_SOFTWARE."""
_ENSURE_PAUSE_S: Final = 0.5
_STORE_CHECK_S: Final = 1.0


def run_service(factory: Callable[[], Service], settings: CoreSettings, wants: Wants = PLAIN) -> int:
    """Run the service that `factory` makes until it was told to stop, and return the exit code of the process.

    0 after a drain, EXIT_NOT_DRAINED when that took longer than `drain_timeout_s`, EXIT_CRASHED when the service
    or one of its tasks raised.
    """
    loop_factory = None
    if wants.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_live(factory, settings, wants))


async def _live(factory: Callable[[], Service], settings: CoreSettings, wants: Wants) -> int:
    service = factory()
    service_id = settings.service_id or new_id()
    logging.configure(settings.log_format, settings.log_level, service=service.name, service_id=service_id)
    telemetry.export_to(settings.otlp_endpoint, service=service.name, service_id=service_id)
    failpoints.arm(settings.failpoints, settings.failpoints_dir)
    health, stopping = Health(service.name), asyncio.Event()
    _stop_on_signals(health, stopping)
    ctx = await _assemble(service_id, settings, wants, health, stopping)
    server = HealthServer(health)
    calm_collector()
    try:
        if wants.health_server:
            await server.start(settings.http_host, settings.http_port, settings.http_port_file)
        ctx.tasks.spawn(_keep_streams(ctx), "keep-streams")
        if ctx.maybe_store is not None:
            ctx.tasks.spawn(_watch_store(ctx.health, ctx.maybe_store), "watch-store")
        log.info("runtime.started", health_port=server.port)
        return await _run(service, ctx)
    finally:
        await ctx.tasks.close()
        await ctx.registry.close()
        await ctx.bus.close()
        if ctx.maybe_store is not None:
            await ctx.maybe_store.close()
        await server.close()
        await asyncio.to_thread(telemetry.stop_recording)
        log.info("runtime.ended")


async def _assemble(
    service_id: str, settings: CoreSettings, wants: Wants, health: Health, stopping: asyncio.Event
) -> ServiceContext:
    bus = await Bus.connect(settings.nats_url, name=f"quarterdeck-{health.service}-{service_id}")
    health.add_check("nats", lambda: bus.trouble)
    return ServiceContext(
        settings=settings,
        service_id=service_id,
        bus=bus,
        registry=Registry(bus),
        clock=SystemClock(),
        health=health,
        tasks=TaskSet(),
        stopping=stopping,
        maybe_store=_store(settings) if wants.store else None,
    )


def _store(settings: CoreSettings) -> "Store":
    from quarterdeck.core.store import Lifetimes, Store, StoreSettings

    lifetimes = Lifetimes(command_ttl_s=settings.command_history_s, batch_ttl_s=settings.batch_history_s)
    return Store(StoreSettings(url=settings.redis_url, lifetimes=lifetimes))


def _stop_on_signals(health: Health, stopping: asyncio.Event) -> None:
    def stop(name: str) -> None:
        log.info("runtime.stop_requested", signal=name)
        health.mark_stopping()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)


async def _run(service: Service, ctx: ServiceContext) -> int:
    """Until the service returned, crashed, or did not drain in time."""
    running = asyncio.create_task(service.run(ctx), name=f"service-{service.name}")
    stopping = asyncio.create_task(ctx.stopping.wait(), name="stopping")
    ends: list[asyncio.Future[Any]] = [running, ctx.tasks.crashed]
    try:
        await asyncio.wait([*ends, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not any(end.done() for end in ends):
            await asyncio.wait(
                ends, timeout=ctx.settings.drain_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        if ctx.tasks.crashed.done():  # logged where it happened
            return EXIT_CRASHED
        if not running.done():
            log.error("runtime.drain_timed_out", drain_timeout_s=ctx.settings.drain_timeout_s)
            return EXIT_NOT_DRAINED
        error = running.exception()
        if error is not None:
            log.error("runtime.service_crashed", exc_info=error)
            return EXIT_CRASHED
        return 0
    finally:
        running.cancel()
        stopping.cancel()
        await asyncio.wait([running, stopping])


async def _keep_streams(ctx: ServiceContext) -> None:
    """Make the streams exist now and after every reconnect: a NATS that came back empty is filled again."""
    connected = asyncio.Event()
    connected.set()
    ctx.bus.on_reconnect(connected.set)
    while True:
        await connected.wait()
        connected.clear()
        try:
            await ensure_streams(ctx.bus, ctx.settings.stream_replicas)
        except Unavailable as error:
            log.warning("runtime.streams_not_ensured", reason=error.message)
            connected.set()
            await asyncio.sleep(_ENSURE_PAUSE_S)
        except QuarterdeckError as error:
            # Someone configured a stream in a way that cannot be changed back: work with it, and say so.
            log.error("runtime.stream_differs", reason=error.message)


async def _watch_store(health: Health, store: "Store") -> None:
    """Say whether Redis answers, and whether its state is whole. Making it so is the dispatcher's (core/rebuild)."""
    trouble = "not connected yet"
    health.add_check("redis", lambda: trouble)
    while True:
        try:
            shut = await store.shut_shards()
            trouble = f"{shut} shards are being rebuilt" if shut else ""
        except Unavailable as error:
            trouble = error.message
        await asyncio.sleep(_STORE_CHECK_S)
