"""The commands of this agent: which one runs, which one waits, and which never starts.

Owns the decision about each order and each terminate, and the task of each running command. How a process or a handler
runs is in process_run.py and handler_run.py; called by service.py, which speaks with the gateway.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec
import structlog

from quarterdeck.agent.executor.handler_run import HandlerRun, HandlerSpec
from quarterdeck.agent.executor.journal import CommandKey, Entry, Journal
from quarterdeck.agent.executor.orders import OrderRefused, WorkOrder, read_order
from quarterdeck.agent.executor.outcome import Outcome, StopOrder
from quarterdeck.agent.executor.process_run import ProcessRun, ProcessSpec, ProcessTools
from quarterdeck.agent.executor.reports import Reporter
from quarterdeck.agent.executor.slots import Slots
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.handlers import Handlers
from quarterdeck.core import telemetry
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason, ResultReason

log = structlog.get_logger()


class Run(Protocol):
    """A command that was given a slot."""

    def stop(self, order: StopOrder) -> None: ...

    def output_acknowledged(self) -> None: ...

    async def execute(self, on_started: Callable[[int], None]) -> Outcome: ...


class CommandTools(msgspec.Struct, frozen=True):
    """What commands work with; shared with the executor that owns it."""

    journal: Journal
    reporter: Reporter
    handlers: Handlers
    processes: ProcessTools


class Commands:
    """Takes orders, and sees each of them to its end."""

    def __init__(self, tools: CommandTools) -> None:
        self._settings = tools.processes.settings
        self._outlet = tools.processes.outlet
        self._journal = tools.journal
        self._reporter = tools.reporter
        self._handlers = tools.handlers
        self._processes = tools.processes
        self._slots = Slots(self._settings.max_parallel, self._may_start)
        self._waiting: dict[CommandKey, Entry] = {}
        self._runs: dict[CommandKey, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._quiet = asyncio.Event()
        """Set when something came nearer to its end."""

    def order(self, order: pb.Order) -> None:
        key = CommandKey(order.command_id, order.attempt)
        known = self._journal.find(key)
        if known is not None:
            self._reporter.repeat(known)
            return
        entry = self._journal.received(key, order.batch_id)
        if self._journal.cancelled_early(key):
            self._reporter.result(entry, Outcome(end=pb.TERMINATED), traceparent=order.traceparent)
            return
        try:
            work = self._take(order)
        except OrderRefused as refusal:
            self._reporter.rejected(entry, refusal.reason, refusal.error)
            return
        self._reporter.accepted(entry)
        self._waiting[key] = entry
        self._slots.submit(
            key, partial(self._start, entry, work), priority=work.priority, size_bytes=work.size_bytes
        )

    def _take(self, order: pb.Order) -> WorkOrder:
        if self._stopping:
            raise OrderRefused(RejectReason.STOPPING, "the agent is stopping")
        if self._slots.waiting_bytes + len(order.spec) > self._settings.max_queued_bytes:
            raise OrderRefused(RejectReason.OVERLOADED, "too many commands are waiting on this agent")
        return read_order(order)

    def _may_start(self) -> bool:
        return (
            self._reporter.unconfirmed_ends < self._settings.max_unacknowledged_commands
            and self._outlet.retained_bytes < self._settings.max_retained_bytes
        )

    def _start(self, entry: Entry, work: WorkOrder) -> None:
        del self._waiting[entry.key]
        run = self._runs[entry.key] = self._make_run(entry, work)
        task = asyncio.create_task(self._run(entry, run, work.traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _make_run(self, entry: Entry, work: WorkOrder) -> Run:
        key = work.key
        if work.plan is None:
            handler_spec = HandlerSpec(
                command_id=key.command_id,
                attempt=key.attempt,
                command_type=work.command_type,
                payload=work.payload,
                timeout_s=work.timeout_s,
                grace_s=work.grace_s,
            )
            return HandlerRun(handler_spec, self._handlers, self._processes.clock)
        entry.output = CommandOutput(key.command_id, key.attempt)
        self._outlet.add(entry.output)
        spec = ProcessSpec(
            marker=f"{key.command_id}.{key.attempt}",
            plan=work.plan,
            working_directory=work.working_directory,
            environment=work.environment,
            timeout_s=work.timeout_s,
            no_output_timeout_s=work.no_output_timeout_s,
            grace_s=work.grace_s,
        )
        return ProcessRun(spec, entry.output, self._processes)

    async def _run(self, entry: Entry, run: Run, traceparent: str) -> None:
        parent = {"traceparent": traceparent} if traceparent else None
        with telemetry.span(telemetry.AGENT_EXECUTE, parent, command_id=entry.key.command_id):
            try:
                await self._journal.starting(entry)
                outcome = await run.execute(partial(self._started, entry))
                await self._journal.exited(entry)
            except Exception:
                log.exception("executor.run_crashed", command_id=entry.key.command_id, phase=entry.phase.name)
                outcome = Outcome(end=pb.OUTCOME_UNKNOWN, error="the agent failed while it ran this command")
            del self._runs[entry.key]
            self._reporter.result(entry, outcome, traceparent=telemetry.traceparent() or traceparent)

    def _started(self, entry: Entry, at_ms: int) -> None:
        self._journal.running(entry)
        self._reporter.started(entry, at_ms)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._quiet.set()
        self._slots.release()

    def terminate(self, terminate: pb.Terminate) -> None:
        """Stop a running command, withdraw a waiting one, and remember an unknown one, which may still come."""
        key = CommandKey(terminate.command_id, terminate.attempt)
        order = StopOrder(pb.TERMINATED, "", terminate.grace_ms / 1000)
        if key in self._runs:
            self._runs[key].stop(order)
        elif self._journal.find(key) is None:
            self._journal.cancel_early(key)
        # Said before the result of a command that waited: by then it is true.
        self._reporter.terminate_acknowledged(key)
        self._withdraw(key, order)

    def _withdraw(self, key: CommandKey, order: StopOrder) -> None:
        """If it waits, it never starts."""
        if self._slots.withdraw(key):
            entry = self._waiting.pop(key)
            self._reporter.result(entry, Outcome(end=order.end, reason=order.reason), traceparent="")

    def confirmed(self, key: CommandKey | None = None) -> None:
        """The gateway confirmed something (output of `key`): what was held back may go on."""
        if key is not None and key in self._runs:
            self._runs[key].output_acknowledged()
        self._slots.advance()
        self._quiet.set()

    async def stop(self, *, grace_s: float) -> None:
        """End all commands, and wait up to `grace_s` until the gateway knows. Nothing starts any more."""
        self._stopping = True
        order = StopOrder(pb.TERMINATED, ResultReason.AGENT_STOPPED, grace_s / 2)
        for key in list(self._waiting):
            self._withdraw(key, order)
        for run in list(self._runs.values()):
            run.stop(order)
        try:
            async with asyncio.timeout(grace_s):
                while self._tasks or self._reporter.unconfirmed_ends:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            log.warning(
                "executor.stopped_early",
                running=len(self._tasks),
                unconfirmed=self._reporter.unconfirmed_ends,
            )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
