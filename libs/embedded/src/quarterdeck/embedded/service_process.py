"""One of our own processes (a service or a local agent) as the supervisor sees it: start, readiness, stop.

Owns spawning with a fresh environment each time and the wait for `/health/ready`. What the environment holds is
decided in services.py and agents.py. Called by the supervisor.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.embedded.server_errors import ServerStartFailed

_POLL_S: Final = 0.03
"""A start takes about half a second; a probe of a closed port takes microseconds."""

_PORT_TAKEN: Final = "already in use"
_ATTEMPTS: Final = 3
"""Between our choice of a free port and the child's bind somebody else may take it."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One start: what the child is told, and how to see that it is ready."""

    argv: tuple[str, ...]
    """Arguments after `python -m`."""
    env: Mapping[str, str]
    """The child's whole environment."""
    ready: Callable[[], Awaitable[bool]] | None = None
    """Asked again and again until True; None: ready as soon as it was spawned."""


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    """Role, as in the ready file's pids."""
    cwd: Path
    log_path: Path
    launch: Callable[[], Launch]
    """Called before each start: ports may have changed since the last one."""
    death_signal: signal.Signals = signal.SIGKILL
    ready_timeout_s: float = 60.0
    stop_grace_s: float = 10.0
    """For a drain; longer is answered with SIGKILL."""


class ServiceProcess:
    """A child that runs one of our modules; may be started again after each end."""

    def __init__(self, settings: ProcessSettings) -> None:
        self.settings = settings
        self._child: Child | None = None

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def child(self) -> Child:
        """The process of the last start. Raises RuntimeError before the first one."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started yet")
        return self._child

    async def start(self) -> None:
        """Starts the child and waits until it is ready. Raises ServerStartFailed.

        A child that is still not ready at the deadline goes on running: on a restart the fault may be a broker's.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._start_once()
                return
            except ServerStartFailed as failed:
                if attempt == _ATTEMPTS or failed.exit_code is None or _PORT_TAKEN not in failed.log_tail:
                    raise

    async def stop(self) -> None:
        """SIGTERM and a drain, then SIGKILL."""
        if self._child is not None:
            await self._child.stop(self.settings.stop_grace_s)

    async def _start_once(self) -> None:
        launch = self.settings.launch()
        self._child = child = Child.spawn(
            ChildSettings(
                name=self.name,
                argv=(sys.executable, "-m", *launch.argv),
                cwd=self.settings.cwd,
                log_path=self.settings.log_path,
                env=launch.env,
                death_signal=self.settings.death_signal,
            )
        )
        if launch.ready is None:
            return
        try:
            async with asyncio.timeout(self.settings.ready_timeout_s):
                while not await launch.ready():
                    if child.exit_code is not None:
                        raise self._failed(child)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise self._failed(child) from None

    def _failed(self, child: Child) -> ServerStartFailed:
        return ServerStartFailed(self.name, child.exit_code, self.settings.log_path, child.log_tail())
