"""One command as a process, from its start to an outcome that is certain.

Owns the order of events: spawn, output, the timeouts, a stop from outside, the proof, the rest of the output. Reports
nothing itself; service.py does.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from quarterdeck.agent.executor.outcome import Outcome, RunStarted, StopOrder
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.pipes import Drain, PipeReader
from quarterdeck.agent.executor.proc_table import MARKER_VARIABLE, ProcTable, read_stat
from quarterdeck.agent.executor.process import Process, SpawnFailed, SpawnRequest, spawn
from quarterdeck.agent.executor.run_spec import RunSpec
from quarterdeck.agent.executor.shell import Plan, ScriptFile
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.executor.terminate import ProcessTree, stop_tree
from quarterdeck.agent.executor.watcher import Watcher
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.core import failpoints
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason

log = structlog.get_logger()

_LINGER_S: Final = 0.1
"""How long after the child's end output of its own children is still waited for, when they hold the pipe."""

_LAST_LOOK_S: Final = 0.5
"""For a process that was killed because the agent goes."""


class ProcessTools(msgspec.Struct, frozen=True):
    """What all runs of an executor share."""

    settings: ExecutorSettings
    outlet: Outlet
    table: ProcTable
    watcher: Watcher
    drain: Drain
    clock: Clock
    tracked_pids: set[int]
    """Of running commands: their runs reap them, and nobody else."""


class ProcessRun:
    """Runs once. `stop` may come at any time, also before `execute`."""

    def __init__(self, plan: Plan, spec: RunSpec, output: CommandOutput, tools: ProcessTools) -> None:
        self._plan = plan
        self._spec = spec
        self._output = output
        self._tools = tools
        self._loop = asyncio.get_running_loop()
        self._stop_order: StopOrder | None = None
        self._returncode: int | None = None
        self._turn = asyncio.Event()
        """Set at exit, at a stop, and when a pipe ends after the exit."""
        self._tree: ProcessTree | None = None
        """Once it is being stopped."""
        self._readers: tuple[PipeReader, ...] = ()
        self._timers: list[asyncio.TimerHandle] = []
        self._last_activity_s = 0.0

    def stop(self, order: StopOrder) -> None:
        """End it. The first order counts."""
        if self._stop_order is None:
            self._stop_order = order
            self._turn.set()

    def make_way(self) -> None:
        """There may be room again, in memory or on disk: whoever was held back goes on."""
        for reader in self._readers:
            if reader.held_back:
                self._last_activity_s = self._loop.time()  # it was we who kept it silent
                reader.resume()

    async def execute(self, on_started: Callable[[RunStarted], None]) -> Outcome:
        """To the end. Never raises for what a command can do."""
        if self._stop_order is not None:
            return Outcome(end=self._stop_order.end, reason=self._stop_order.reason)
        script: ScriptFile | None = None
        try:
            if self._plan.script is not None:
                script = ScriptFile(self._plan.script, self._tools.settings.scratch_dir)
            process = self._spawn(script.argv if script else self._plan.argv)
        except (SpawnFailed, OSError) as error:
            if script is not None:
                script.remove()
            exit_code = error.exit_code if isinstance(error, SpawnFailed) else 126
            return Outcome(
                end=pb.FAILED, reason=ResultReason.SPAWN_FAILED, exit_code=exit_code, error=str(error)
            )
        started_at_ms = self._tools.clock.now_ms()
        self._tools.tracked_pids.add(process.pid)
        failpoints.reach("executor.after_spawn")
        stat = read_stat(process.pid)
        on_started(RunStarted(started_at_ms, process.pid, stat.started_ticks if stat else 0))
        try:
            return await self._watch(process, started_at_ms)
        except asyncio.CancelledError:
            await self._kill(process)
            raise
        finally:
            self._tools.tracked_pids.discard(process.pid)
            for timer in self._timers:
                timer.cancel()
            if script is not None:
                script.remove()

    def _spawn(self, argv: tuple[str, ...]) -> Process:
        spec, tools = self._spec, self._tools
        environment = {**tools.settings.environment, **spec.environment, MARKER_VARIABLE: spec.marker}
        spawned = spawn(
            SpawnRequest(argv, spec.working_directory or tools.settings.working_directory, environment),
            tools.watcher,
            self._on_exit,
        )
        self._last_activity_s = self._loop.time()
        self._readers = tuple(
            PipeReader(descriptor, buffer, tools.outlet, tools.watcher, tools.clock, self._on_output)
            for descriptor, buffer in (
                (spawned.stdout, self._output.stdout),
                (spawned.stderr, self._output.stderr),
            )
        )
        if spec.timeout_s is not None:
            order = StopOrder(pb.TIMED_OUT, ResultReason.EXECUTION, spec.grace_s)
            self._timers.append(self._loop.call_later(spec.timeout_s, self.stop, order))
        if spec.no_output_timeout_s is not None:
            self._timers.append(self._loop.call_later(spec.no_output_timeout_s, self._check_silence))
        return spawned.process

    async def _watch(self, process: Process, started_at_ms: int) -> Outcome:
        while self._returncode is None and self._stop_order is None:
            self._turn.clear()
            await self._turn.wait()
        order = self._stop_order if self._returncode is None else None
        proven = True
        if order is not None:
            self._tree = self._tree_of(process)
            proven = await stop_tree(self._tree, grace_s=order.grace_s)
            while proven and self._returncode is None:  # seen dead; its pidfd says so in a moment
                self._turn.clear()
                await self._turn.wait()
        await self._take_rest()
        return self._outcome(order, proven=proven, started_at_ms=started_at_ms)

    def _tree_of(self, process: Process) -> ProcessTree:
        return ProcessTree.of_child(process.pid, self._spec.marker, self._tools.table)

    async def _kill(self, process: Process) -> None:
        """The agent goes and has no time left: unproven, so its successor will say that the end is unknown."""
        tree = self._tree or (self._tree_of(process) if self._returncode is None else None)
        if tree is None:
            return
        tree.signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LOOK_S):
                while self._returncode is None:
                    self._turn.clear()
                    await self._turn.wait()

    async def _take_rest(self) -> None:
        """All that the child itself wrote; and what others write shortly after, who hold its pipes."""
        for reader in self._readers:
            reader.take_rest()
        deadline_s = self._loop.time() + _LINGER_S
        while not all(reader.ended for reader in self._readers):
            self._turn.clear()
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._turn.wait()
            except TimeoutError:
                break
        for reader in self._readers:
            inherited = not reader.ended
            descriptor = reader.release()
            if inherited:
                self._tools.drain.adopt(descriptor)
            else:
                os.close(descriptor)

    def _outcome(self, order: StopOrder | None, *, proven: bool, started_at_ms: int) -> Outcome:
        returncode = self._returncode
        exit_code = returncode if returncode is not None and returncode >= 0 else None
        signal_number = -returncode if returncode is not None and returncode < 0 else None
        reason: str
        if not proven:
            end, reason, error = (
                pb.OUTCOME_UNKNOWN,
                ResultReason.NOT_PROVEN,
                "a process of it survived SIGKILL",
            )
            log.error("executor.proof_failed", command=self._spec.marker)
        elif order is not None:
            end, reason, error = order.end, order.reason, ""
        elif exit_code == 0:
            end, reason, error = pb.SUCCEEDED, "", ""
        elif signal_number is not None:
            end, reason, error = pb.FAILED, ResultReason.SIGNAL, f"ended by signal {signal_number}"
        else:
            end, reason, error = pb.FAILED, "", f"exit code {exit_code}"
        return Outcome(
            end=end,
            reason=reason,
            exit_code=exit_code,
            signal=signal_number,
            error=error,
            started_at_ms=started_at_ms,
        )

    def _on_exit(self, returncode: int) -> None:
        self._returncode = returncode
        self._turn.set()

    def _on_output(self) -> None:
        self._last_activity_s = self._loop.time()
        if self._returncode is not None:
            self._turn.set()

    def _check_silence(self) -> None:
        """The no-output timeout, measured from the last byte; a child that we hold back is not silent."""
        limit_s = self._spec.no_output_timeout_s
        if limit_s is None:
            return
        if any(reader.held_back for reader in self._readers):
            self._last_activity_s = self._loop.time()
        left_s = self._last_activity_s + limit_s - self._loop.time()
        if left_s <= 0:
            self.stop(StopOrder(pb.TIMED_OUT, ResultReason.NO_OUTPUT, self._spec.grace_s))
        else:
            self._timers[-1:] = [self._loop.call_later(left_s, self._check_silence)]
