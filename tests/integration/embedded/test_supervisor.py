"""The supervisor over real child processes: restarts, back-off, stops."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from quarterdeck.core.clock import SystemClock
from quarterdeck.embedded.backoff import RestartPolicy
from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.embedded.supervisor import Supervisor

QUICK = RestartPolicy(first_s=0.001, cap_s=0.002)


class ShellUnit:
    """A shell script as a supervised unit."""

    def __init__(self, tmp_path: Path, name: str, script: str) -> None:
        self._settings = ChildSettings(
            name=name, argv=("/bin/sh", "-c", script), cwd=tmp_path, log_path=tmp_path / f"{name}.log"
        )
        self._child: Child | None = None
        self.stops: list[str] = []

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    async def start(self) -> None:
        self._child = Child.spawn(self._settings)

    async def stop(self) -> None:
        self.stops.append(self._settings.name)
        await self.child.stop()


class Restarts:
    """Awaitable record of `on_restart` calls."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = asyncio.Event()

    def note(self, name: str) -> None:
        self.names.append(name)
        self._changed.set()

    async def reach(self, count: int) -> None:
        while len(self.names) < count:
            self._changed.clear()
            await self._changed.wait()


async def test_killed_child_is_started_again_and_reported(tmp_path: Path) -> None:
    """A crash gives a new process id, told to whoever keeps the ready file."""
    restarts = Restarts()
    supervisor = Supervisor(SystemClock(), restarts.note, QUICK)
    await supervisor.start("sleeper", ShellUnit(tmp_path, "sleeper", "exec sleep 1000"))
    first = supervisor.pids["sleeper"]

    os.kill(first, signal.SIGKILL)
    await restarts.reach(1)

    assert supervisor.pids["sleeper"] != first
    await supervisor.close()


async def test_child_that_keeps_crashing_is_started_again_and_again(tmp_path: Path) -> None:
    """A supervisor never gives up; the back-off keeps it cheap."""
    restarts = Restarts()
    supervisor = Supervisor(SystemClock(), restarts.note, QUICK)

    await supervisor.start("crasher", ShellUnit(tmp_path, "crasher", "exit 1"))
    await restarts.reach(3)

    assert restarts.names[:3] == ["crasher"] * 3
    await supervisor.close()


async def test_stopped_child_stays_stopped_and_the_last_started_is_stopped_first(tmp_path: Path) -> None:
    """Consumers go before the brokers that they drain to."""
    restarts = Restarts()
    supervisor = Supervisor(SystemClock(), restarts.note, QUICK)
    order: list[str] = []
    units = [ShellUnit(tmp_path, name, "exec sleep 1000") for name in ("broker", "service", "agent")]
    for name, unit in zip(("broker", "service", "agent"), units, strict=True):
        unit.stops = order
        await supervisor.start(name, unit)

    await supervisor.close()

    assert order == ["agent", "service", "broker"]
    assert not any(unit.child.running for unit in units)
    assert restarts.names == []


async def test_unit_that_never_becomes_ready_fails_the_start_and_is_still_stopped(tmp_path: Path) -> None:
    """Half a system is not left behind."""

    class Failing(ShellUnit):
        async def start(self) -> None:
            await super().start()
            raise ServerStartFailed("failing", None, tmp_path / "failing.log", "")

    supervisor = Supervisor(SystemClock(), Restarts().note, QUICK)
    good, bad = ShellUnit(tmp_path, "good", "exec sleep 1000"), Failing(tmp_path, "bad", "exec sleep 1000")

    with pytest.raises(ServerStartFailed):
        await supervisor.start_all({"good": good, "bad": bad})
    await supervisor.close()

    assert not good.child.running
    assert not bad.child.running
