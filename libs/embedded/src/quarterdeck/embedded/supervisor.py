"""Keeps a set of child processes running: starts them, starts them again when they end, stops them in order.

Owns the watch over each child and the back-off between its restarts. Knows neither what the children are nor which
must be up before which: system.py adds them in its order. A child that hangs is not noticed here, only one that ends.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from quarterdeck.core.clock import Clock
from quarterdeck.embedded.backoff import DEFAULT, RestartPolicy
from quarterdeck.embedded.children import Child
from quarterdeck.embedded.server_errors import EmbeddedServerError

log = structlog.get_logger()


class Unit(Protocol):
    """One supervised process, whatever it runs: NatsServer, RedisServer, ServiceProcess."""

    @property
    def child(self) -> Child: ...

    async def start(self) -> None:
        """Starts it and waits until it is ready. Raises EmbeddedServerError."""

    async def stop(self) -> None:
        """Ends it in an orderly way, within bounded time."""


class Supervisor:
    """`on_restart` is called with a unit's name after each restart of ours; it must neither wait nor raise."""

    def __init__(
        self, clock: Clock, on_restart: Callable[[str], None], policy: RestartPolicy = DEFAULT
    ) -> None:
        self._clock = clock
        self._on_restart = on_restart
        self._policy = policy
        self._units: dict[str, Unit] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._pids: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """Everything that was started, ready or not, in that order."""
        return list(self._units)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, each of the last start that became ready."""
        return dict(self._pids)

    async def start(self, name: str, unit: Unit) -> None:
        """Starts `unit` and keeps it running from now on. Raises EmbeddedServerError when it never becomes ready."""
        self._units[name] = unit
        await unit.start()
        self._pids[name] = unit.child.pid
        self._watches[name] = asyncio.create_task(self._watch(name, unit), name=f"watch {name}")

    async def start_all(self, units: dict[str, Unit]) -> None:
        """Starts `units` side by side. Raises the first EmbeddedServerError; the others go on to be stopped."""
        results = await asyncio.gather(
            *(self.start(name, unit) for name, unit in units.items()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def stop(self, *names: str) -> None:
        """Stops the named units side by side and for good."""
        await asyncio.gather(*(self._stop_one(name) for name in names if name in self._units))

    async def close(self) -> None:
        """Stops what is left, the last started first."""
        for name in reversed(self.names):
            await self.stop(name)

    async def _stop_one(self, name: str) -> None:
        unit, watch = self._units.pop(name), self._watches.pop(name, None)
        self._pids.pop(name, None)
        if watch is not None:  # first the watch: nothing may be started behind the stop
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await unit.stop()

    async def _watch(self, name: str, unit: Unit) -> None:
        crashes = 0
        while True:
            started_s = self._clock.monotonic_s()
            exit_code = await unit.child.wait()
            crashes = self._policy.crashes_after(crashes, self._clock.monotonic_s() - started_s)
            delay_s = self._policy.delay_s(crashes)
            log.warning(
                "supervisor.child_ended", child=name, exit_code=exit_code, crashes=crashes, delay_s=delay_s
            )
            await asyncio.sleep(delay_s)
            try:
                await unit.start()
            except (EmbeddedServerError, OSError) as error:
                # Still running but not ready, or ended again: the next turn of the loop finds out.
                log.warning("supervisor.restart_not_ready", child=name, error=str(error).partition("\n")[0])
            self._pids[name] = unit.child.pid
            self._on_restart(name)
            log.info("supervisor.child_restarted", child=name, pid=unit.child.pid)
