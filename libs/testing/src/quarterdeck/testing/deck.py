"""A whole embedded system as a fixture's object: `qd up` in a process of its own, and `qd` to talk to it.

Owns the start, the wait for the ready file, and the end of everything it started. For tests that need all six services;
each start takes seconds, so share one where you can.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from quarterdeck.embedded import main as embedded
from quarterdeck.embedded.children import Child, ChildSettings

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 40.0
_POLL_S: Final = 0.05


class Deck:
    """One system in `data_dir`, from `start` to `stop`; may be started again on the same directory."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        """`arguments`: of `qd up`, besides data directory, ready file and ports."""
        self.data_dir = data_dir
        self.ready_path = data_dir.parent / f"{data_dir.name}.ready.json"
        self.log_path = data_dir.parent / f"{data_dir.name}.up.log"
        self._arguments = arguments
        self._supervisor: Child | None = None

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file as it is now."""
        content: dict[str, Any] = json.loads(self.ready_path.read_text())
        return content

    @property
    def pids(self) -> dict[str, int]:
        """Services, brokers and agents alike."""
        ready = self.ready
        return {**ready["pids"], **{name: agent["pid"] for name, agent in ready["agents"].items()}}

    @property
    def supervisor(self) -> Child:
        """The process of `qd up`. Raises RuntimeError before the first start."""
        if self._supervisor is None:
            raise RuntimeError("the system was not started yet")
        return self._supervisor

    async def start(self) -> None:
        """Returns when the ready file is there. Raises RuntimeError with the log when it does not come."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._supervisor = child = Child.spawn(
            ChildSettings(
                name="up",
                argv=(
                    *(sys.executable, "-m", "quarterdeck.cli", "up"),
                    *("--data-dir", str(self.data_dir), "--ready-file", str(self.ready_path)),
                    *("--port", "0", "--grpc-port", "0", "--quic-port", "0"),
                    *self._arguments,
                ),
                cwd=self.data_dir.parent,
                log_path=self.log_path,
                env=environment(),
            )
        )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self.ready_path.exists():
            if not child.running or time.monotonic() > deadline_s:
                raise RuntimeError(f"`qd up` is not ready: {child.log_tail()}")
            await asyncio.sleep(_POLL_S)

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Sends `number` to the supervisor and waits for its end; its exit code."""
        self.supervisor.send_signal(number)
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            return await self.supervisor.wait()

    async def kill_and_await_restart(self, name: str) -> int:
        """SIGKILL to one process; returns its successor's id once the ready file tells it."""
        before = self.pids[name]
        os.kill(before, signal.SIGKILL)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while (after := self.pids[name]) == before:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{name} was not started again: {self.supervisor.log_tail()}")
            await asyncio.sleep(_POLL_S)
        return after

    async def qd(self, *arguments: str, expect: int | None = 0) -> "subprocess.CompletedProcess[bytes]":
        """Runs `qd` against this system. `expect`: the exit code, None for any."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "quarterdeck.cli", *arguments],
            env=environment(QD_DATA_DIR=str(self.data_dir)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"qd {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n"
                f"{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"
            )
        return done


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without variables of ours, and with `extra`."""
    return {**embedded.environment(), "NO_COLOR": "1", "COLUMNS": "200", **extra}


async def gone(pids: list[int]) -> list[int]:
    """Waits until none of `pids` lives; those that still do after a while."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=15)
    return [process.pid for process in alive if process.status() != psutil.STATUS_ZOMBIE]
