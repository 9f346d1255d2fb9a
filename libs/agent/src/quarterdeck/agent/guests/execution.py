"""One command in a guest, from its start to an outcome that is certain, or said not to be. A Run.

Owns the order of events, as process_run.py does for this host: start, output, the timeouts, a stop from outside, the
proof, the rest of the output. How output and processes of a guest are reached is LiveExec's business.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from quarterdeck.agent.executor.outcome import Outcome, RunStarted, StopOrder
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.run_spec import RunSpec
from quarterdeck.agent.executor.streams import CommandOutput, OutputBuffer
from quarterdeck.agent.guests.absence import Absence
from quarterdeck.agent.guests.connections import Connections
from quarterdeck.agent.guests.endings import lost, not_started, of_end, unproven
from quarterdeck.agent.guests.mishaps import not_reached
from quarterdeck.agent.guests.plans import GuestExecution
from quarterdeck.agent.guests.sharing import NotReached
from quarterdeck.agent.guests.stopping import stopped
from quarterdeck.agent.guests.tidying import Tidying
from quarterdeck.contracts.limits import OUTPUT_CHUNK_BYTES
from quarterdeck.core.clock import Clock
from quarterdeck.machines.errors import MachineError, NotSupported
from quarterdeck.machines.guest import Guest
from quarterdeck.machines.qga import GuestExecStatus, LiveExec, LiveExecSpec, LiveStep, Scratch
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason

log = structlog.get_logger()

_STOPPED_AFTER_S: Final = 1.0
"""A command whose output nobody takes for this long is paused in the guest, whose disk it would fill otherwise."""
_HELD_LOOK_S: Final = 0.25

_SILENT: Final = ("/bin/sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh")
"""In front of a command whose output nobody wants."""


class ExecutionTools(msgspec.Struct, frozen=True):
    """What all runs in guests share."""

    connections: Connections
    outlet: Outlet
    clock: Clock
    tidying: Tidying


class GuestRun:
    """Runs once. `stop` may come at any time, also before `execute`."""

    def __init__(
        self,
        plan: GuestExecution,
        spec: RunSpec,
        guest: Guest | None,
        output: CommandOutput,
        tools: ExecutionTools,
    ) -> None:
        """`guest`: None when it is not there any more."""
        self._plan = plan
        self._spec = spec
        self._guest = guest
        self._output = output
        self._tools = tools
        self._loop = asyncio.get_running_loop()
        self._stop_order: StopOrder | None = None
        self._turn = asyncio.Event()
        """Set at a stop, and when there is room again."""
        self._absence = Absence()
        self._started_s = self._last_activity_s = 0.0
        self._held_since_s: float | None = None
        self._is_paused = False

    def stop(self, order: StopOrder) -> None:
        if self._stop_order is None:
            self._stop_order = order
            self._turn.set()

    def make_way(self) -> None:
        if self._held_since_s is not None:
            self._turn.set()

    async def execute(self, on_started: Callable[[RunStarted], None]) -> Outcome:
        if self._stop_order is not None:
            return Outcome(end=self._stop_order.end, reason=self._stop_order.reason)
        guest = self._guest
        if guest is None:
            text = f"{self._plan.guest} is gone"
            return Outcome(end=pb.FAILED, reason=ResultReason.GUEST_UNREACHABLE, error=text)
        try:
            async with self._tools.connections.programs(guest) as scratch:
                return await self._execute(guest, scratch, on_started)
        except NotReached as error:
            reason = not_reached(error.cause).reason
            return Outcome(end=pb.FAILED, reason=reason, error=error.cause.message)

    async def _execute(
        self, guest: Guest, scratch: Scratch, on_started: Callable[[RunStarted], None]
    ) -> Outcome:
        live = LiveExec(scratch, self._live_spec())
        try:
            await live.start()
            started_at_ms = self._tools.clock.now_ms()
            self._started_s = self._last_activity_s = self._loop.time()
            on_started(RunStarted(started_at_ms))
            outcome = await self._watch(live)
            return msgspec.structs.replace(outcome, started_at_ms=started_at_ms)
        except MachineError as error:
            log.info("guests.start_failed", guest=guest.name, code=error.code)
            return not_started(error, was_asked=live.may_have_started)
        finally:
            self._tools.tidying.leave(guest, live)

    # ---- While it runs

    async def _watch(self, live: LiveExec) -> Outcome:
        """Never raises for what a guest can do."""
        try:
            while (order := self._due_order()) is None:
                step = await self._look(live)
                if step is not None and step.end is not None:
                    return of_end(step.end, self._plan)
            try:
                proven = await stopped(live, order.grace_s)
            except MachineError as error:
                return unproven(error.message)
            if not proven:
                log.error("guests.proof_failed", command=self._spec.marker)
                return unproven("a process of it survived SIGKILL")
            self._is_paused = False
            return of_end(await self._rest(live), self._plan, order)
        except MachineError as error:
            log.warning("guests.command_lost", command=self._spec.marker, code=error.code)
            return lost(error)

    async def _rest(self, live: LiveExec) -> GuestExecStatus:
        """All that it wrote, when nothing of it lives any more; how it ended. Raises MachineError."""
        while True:
            step = await self._look(live)
            if step is not None and step.end is not None:
                return step.end

    async def _look(self, live: LiveExec) -> LiveStep | None:
        """Take what there is, as far as there is room for it, and wait until another look is worth it, or a stop comes.

        None: there was no room, or no guest. Raises MachineError when the guest stays away.
        """
        stdout, stderr = self._output.buffers
        pause_s, step = _HELD_LOOK_S, None
        try:
            await self._hold_back(live)
            if stdout.has_room or stderr.has_room:
                step = await live.step(stdout=stdout.has_room, stderr=stderr.has_room)
                self._absence.over()
        except MachineError as error:
            pause_s = self._absence.seen(error, self._loop.time())
        if step is not None:
            self._take(stdout, step.stdout)
            self._take(stderr, step.stderr)
            if step.end is not None:
                self._note_truncation(step.end)
                return step
            pause_s = step.pause_s
        await self._pause(pause_s)
        return step

    async def _hold_back(self, live: LiveExec) -> None:
        """Have it wait, or go on. Raises MachineError."""
        now_s = self._loop.time()
        if all(buffer.has_room for buffer in self._output.buffers):
            self._held_since_s = None
            if self._is_paused:
                await live.resume()
                self._is_paused = False
            return
        self._last_activity_s = now_s  # it is we who keep it silent
        if self._held_since_s is None:
            self._held_since_s = now_s
        elif not self._is_paused and now_s - self._held_since_s >= _STOPPED_AFTER_S:
            self._is_paused = True
            try:
                await live.pause()
            except NotSupported:
                pass  # then its output piles up in the guest

    def _take(self, buffer: OutputBuffer, content: bytes) -> None:
        if not content:
            return
        self._last_activity_s = self._loop.time()
        now_ms = self._tools.clock.now_ms()
        for start in range(0, len(content), OUTPUT_CHUNK_BYTES):
            if buffer.append(content[start : start + OUTPUT_CHUNK_BYTES], now_ms):
                self._tools.outlet.appended(buffer)

    def _note_truncation(self, end: GuestExecStatus) -> None:
        """By a guest whose output comes with its end: it does not say how much it threw away."""
        self._output.stdout.truncated_bytes += bool(end.out_truncated)
        self._output.stderr.truncated_bytes += bool(end.err_truncated)

    async def _pause(self, pause_s: float) -> None:
        if self._stop_order is not None:
            return await asyncio.sleep(pause_s)  # it is being stopped: the event says nothing more
        self._turn.clear()
        try:
            async with asyncio.timeout(min(pause_s, self._next_due_s())):
                await self._turn.wait()
        except TimeoutError:
            pass

    # ---- Timeouts

    def _due_order(self) -> StopOrder | None:
        """Why it has to end now."""
        now_s = self._loop.time()
        timeout_s, silence_s = self._spec.timeout_s, self._spec.no_output_timeout_s
        if timeout_s is not None and now_s >= self._started_s + timeout_s:
            self.stop(StopOrder(pb.TIMED_OUT, ResultReason.EXECUTION, self._spec.grace_s))
        if silence_s is not None and now_s >= self._last_activity_s + silence_s:
            self.stop(StopOrder(pb.TIMED_OUT, ResultReason.NO_OUTPUT, self._spec.grace_s))
        return self._stop_order

    def _next_due_s(self) -> float:
        """Seconds until one of them may have to end it."""
        now_s = self._loop.time()
        limits = (
            (self._started_s, self._spec.timeout_s),
            (self._last_activity_s, self._spec.no_output_timeout_s),
        )
        return min(
            (since_s + limit_s - now_s for since_s, limit_s in limits if limit_s is not None), default=60
        )

    # ---- Before and after

    def _live_spec(self) -> LiveExecSpec:
        plan, spec = self._plan, self._spec
        return LiveExecSpec(
            marker=spec.marker,
            argv=plan.argv if plan.keeps_output else (*_SILENT, *plan.argv),
            script=plan.script,
            environment={**spec.environment, **plan.environment},
            working_directory=spec.working_directory,
            input_content=plan.input_content or None,
        )
