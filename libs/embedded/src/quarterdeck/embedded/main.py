"""Entry point of the embedded system: from settings to an exit code. `qd up` and the demo call it.

Owns signals, the lock of the data directory and the order of start and stop; the only module here that reads the
environment.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from quarterdeck.core.clock import SystemClock
from quarterdeck.core.logging import configure
from quarterdeck.embedded.layout import DataDir, DataDirLock
from quarterdeck.embedded.ready_file import ReadySystem
from quarterdeck.embedded.settings import UpSettings, inherited
from quarterdeck.embedded.system import EmbeddedSystem

log = structlog.get_logger()


def environment() -> dict[str, str]:
    """What children inherit of this process's environment."""
    return inherited(os.environ)


def run(settings: UpSettings, announce: Callable[[ReadySystem], None]) -> int:
    """Runs until SIGINT or SIGTERM; `announce` is called once, when everything is ready. Returns the exit code.

    Raises EmbeddedServerError when the system does not come up; nothing of it is left then.
    """
    configure("console", "warning", service="up", service_id="up")
    return asyncio.run(_run(settings, announce))


@asynccontextmanager
async def running(settings: UpSettings) -> AsyncIterator[ReadySystem]:
    """A system for as long as the context lasts. Raises EmbeddedServerError."""
    data_dir = DataDir.at(settings.data_dir)
    data_dir.create()
    with DataDirLock(data_dir):
        system = EmbeddedSystem(settings, SystemClock())
        try:
            yield await system.start()
        finally:
            await system.close()


async def _run(settings: UpSettings, announce: Callable[[ReadySystem], None]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    living = asyncio.create_task(_live(settings, announce), name="embedded system")
    stopping = asyncio.create_task(stop.wait(), name="stop requested")
    await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
    living.cancel()  # wherever it is, even half started: the context takes everything down
    stopping.cancel()
    try:
        await living
    except asyncio.CancelledError:
        log.info("up.stopped")
    return 0


async def _live(settings: UpSettings, announce: Callable[[ReadySystem], None]) -> None:
    async with running(settings) as system:
        announce(system)
        await asyncio.Event().wait()
