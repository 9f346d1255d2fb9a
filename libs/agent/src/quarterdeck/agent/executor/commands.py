"""The commands of this agent: which one runs, which one waits, and which never starts.

Owns the decision about each order and each terminate, and the task of each running command. What a command becomes when
it runs is in runs.py; called by service.py, which speaks with the gateway, and by recovery.py.
"""

import asyncio
import contextlib
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from quarterdeck.agent.executor.disk_space import DiskSpace
from quarterdeck.agent.executor.guest_port import GuestPort
from quarterdeck.agent.executor.journal.entries import CommandKey, Entry, Phase
from quarterdeck.agent.executor.journal.journal import Journal
from quarterdeck.agent.executor.journal.log_file import JournalUnwritable
from quarterdeck.agent.executor.orders import OrderRefused, WorkOrder, read_order
from quarterdeck.agent.executor.outcome import Outcome, Run, RunStarted, StopOrder
from quarterdeck.agent.executor.process_run import ProcessTools
from quarterdeck.agent.executor.reports import Reporter
from quarterdeck.agent.executor.runs import Runs
from quarterdeck.agent.executor.server_clock import ServerClock
from quarterdeck.agent.executor.slots import Slots
from quarterdeck.core import failpoints, telemetry
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason, ResultReason

log = structlog.get_logger()


class CommandTools(msgspec.Struct, frozen=True):
    """What commands work with; shared with the executor that owns it."""

    journal: Journal
    reporter: Reporter
    processes: ProcessTools
    runs: Runs
    disk: DiskSpace
    guests: GuestPort | None
    server_clock: ServerClock


class _Waiting(NamedTuple):
    entry: Entry
    work: WorkOrder


class Commands:
    """Takes orders, and sees each of them to its end."""

    def __init__(self, tools: CommandTools) -> None:
        self._settings = tools.processes.settings
        self._outlet = tools.processes.outlet
        self._tools = tools
        self._journal = tools.journal
        self._reporter = tools.reporter
        self._slots = Slots(self._settings.max_parallel, self._may_start)
        self._waiting: dict[CommandKey, _Waiting] = {}
        self._runs: dict[CommandKey, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._quiet = asyncio.Event()
        """Set when something came nearer to its end."""

    # ---- Orders

    def order(self, order: pb.Order) -> None:
        key = CommandKey(order.command_id, order.attempt)
        known = self._journal.find(key)
        if known is not None:
            self._reporter.repeat(known)
            return
        if self._journal.cancelled(key):
            entry = self._journal.refused(key, order.batch_id)
            self._reporter.result(entry, Outcome(end=pb.TERMINATED), traceparent=order.traceparent)
            return
        try:
            work = self._take(order)
            entry = self._journal.received(key, order.SerializeToString(), order.batch_id, order.guest)
        except (OrderRefused, JournalUnwritable) as refusal:
            reason = refusal.reason if isinstance(refusal, OrderRefused) else RejectReason.SPOOL_FULL
            self._reporter.rejected(self._journal.refused(key, order.batch_id), reason, str(refusal))
            return
        self._admit(entry, work)

    def resume(self, entry: Entry, order: pb.Order) -> None:
        """An order that an executor before us had received, and never started."""
        if self._journal.cancelled(entry.key):
            self._reporter.result(entry, Outcome(end=pb.TERMINATED), traceparent=order.traceparent)
            return
        try:
            work = self._read(order)
        except OrderRefused as refusal:  # it made sense when it came, with the catalogue and guests of then
            self._reporter.rejected(entry, refusal.reason, refusal.error)
        else:
            self._admit(entry, work)

    def _take(self, order: pb.Order) -> WorkOrder:
        if self._stopping:
            raise OrderRefused(RejectReason.STOPPING, "the agent is stopping")
        if self._slots.waiting_bytes + len(order.spec) > self._settings.max_queued_bytes:
            raise OrderRefused(RejectReason.OVERLOADED, "too many commands are waiting on this agent")
        if self._tools.disk.short:
            raise OrderRefused(RejectReason.SPOOL_FULL, "the disk of this agent is nearly full")
        return self._read(order)

    def _read(self, order: pb.Order) -> WorkOrder:
        return read_order(order, self._settings.catalogue, self._tools.guests)

    def _admit(self, entry: Entry, work: WorkOrder) -> None:
        self._waiting[entry.key] = _Waiting(entry, work)
        self._slots.submit(
            entry.key, partial(self._start, entry, work), priority=work.priority, size_bytes=work.size_bytes
        )
        if entry.key in self._waiting:  # else one sync covers this and the start, and Accepted follows it
            self._reporter.once_durable(partial(self._accept, entry))

    def _accept(self, entry: Entry) -> None:
        if entry.phase is Phase.RECEIVED and not entry.accepted:
            self._reporter.accepted(entry)

    def _may_start(self) -> bool:
        return (
            not self._stopping
            and self._reporter.unconfirmed_ends < self._settings.max_unacknowledged_commands
            and self._outlet.retained_bytes + self._outlet.reports_bytes < self._settings.max_retained_bytes
        )

    # ---- Runs

    def _start(self, entry: Entry, work: WorkOrder) -> None:
        del self._waiting[entry.key]
        run = self._runs[entry.key] = self._tools.runs.make(entry, work)
        task = asyncio.create_task(self._run(entry, run, work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, entry: Entry, run: Run, work: WorkOrder) -> None:
        parent = {"traceparent": work.traceparent} if work.traceparent else None
        with telemetry.span(telemetry.AGENT_EXECUTE, parent, command_id=entry.key.command_id):
            try:
                outcome = await self._execute(entry, run, work)
                failpoints.reach("executor.after_exit")
            except JournalUnwritable as error:  # nothing was started
                self._reporter.rejected(entry, RejectReason.SPOOL_FULL, error.message)
                return
            except Exception:
                log.exception("executor.run_crashed", command_id=entry.key.command_id, phase=entry.phase.name)
                outcome = Outcome(end=pb.OUTCOME_UNKNOWN, error="the agent failed while it ran this command")
            finally:
                del self._runs[entry.key]
            self._reporter.result(entry, outcome, traceparent=telemetry.traceparent() or work.traceparent)

    async def _execute(self, entry: Entry, run: Run, work: WorkOrder) -> Outcome:
        if self._expired(work):
            return _NOT_DELIVERED
        self._journal.starting(entry)
        await self._journal.until_durable()
        failpoints.reach("executor.after_starting")
        if not entry.accepted:
            self._reporter.accepted(entry)
        return await run.execute(partial(self._started, entry))

    def _started(self, entry: Entry, started: RunStarted) -> None:
        self._journal.running(entry, started.pid, started.started_ticks)
        self._reporter.started(entry, started.at_ms)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._quiet.set()
        self._slots.release()

    # ---- The end of waiting, and of running

    def terminate(self, terminate: pb.Terminate) -> None:
        """Stop a running command, withdraw a waiting one, and remember an unknown one, which may still come."""
        key = CommandKey(terminate.command_id, terminate.attempt)
        order = StopOrder(pb.TERMINATED, "", terminate.grace_ms / 1000)
        if key in self._runs:
            self._runs[key].stop(order)
        entry = self._journal.find(key)
        if entry is not None and entry.phase >= Phase.RUNNING:
            # That it started is on record: nothing can start it again.
            self._reporter.terminate_acknowledged(key)
            return
        try:
            if key in self._waiting:
                self._withdraw(key, order, acknowledge=True)
            else:
                unheard_of = entry is None and key not in self._runs and not self._journal.damaged
                self._journal.cancel(key)
                self._reporter.once_durable(
                    partial(self._reporter.terminate_acknowledged, key, never_started=unheard_of)
                )
        except JournalUnwritable as error:
            # Unacknowledged, it comes again; until then nothing starts while this process lives.
            log.warning("executor.cancel_unrecorded", command_id=key.command_id, cause=error.message)

    def _withdraw(self, key: CommandKey, order: StopOrder, *, acknowledge: bool = False) -> None:
        """It waits and never starts. Raises JournalUnwritable: then that is not certain, and it has no end yet."""
        self._slots.withdraw(key)
        self._journal.cancel(key)

        def say() -> None:
            if acknowledge:
                self._reporter.terminate_acknowledged(key)
            withdrawn = self._waiting.pop(key, None)
            if withdrawn is None:  # asked for twice, or expired meanwhile
                return
            entry, work = withdrawn
            outcome = Outcome(end=order.end, reason=order.reason)
            self._reporter.result(entry, outcome, traceparent=work.traceparent)

        self._reporter.once_durable(say)

    def expire(self) -> None:
        """End those that wait and may not start any more. They need no cancel: a restart sees the same clock."""
        for key, (entry, work) in list(self._waiting.items()):
            if self._expired(work):
                self._slots.withdraw(key)
                del self._waiting[key]
                self._reporter.result(entry, _NOT_DELIVERED, traceparent=work.traceparent)

    def _expired(self, work: WorkOrder) -> bool:
        return 0 < work.expires_ms <= self._tools.server_clock.now_ms()

    def make_way(self, key: CommandKey | None = None) -> None:
        """There may be room for more output, of `key` or of all."""
        runs = self._runs.values() if key is None else filter(None, [self._runs.get(key)])
        for run in runs:
            run.make_way()

    def confirmed(self) -> None:
        """The gateway confirmed something: what was held back may go on."""
        self._slots.advance()
        self._quiet.set()

    async def stop(self, *, grace_s: float) -> None:
        """End all commands, and wait up to `grace_s` until the gateway knows. Nothing starts any more."""
        self._stopping = True
        order = StopOrder(pb.TERMINATED, ResultReason.AGENT_STOPPED, grace_s / 2)
        for run in list(self._runs.values()):
            run.stop(order)
        with contextlib.suppress(JournalUnwritable):  # the next executor will find them waiting
            for key in list(self._waiting):
                self._withdraw(key, order)
            await self._journal.until_durable()
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


_NOT_DELIVERED = Outcome(
    end=pb.TIMED_OUT, reason=ResultReason.DELIVERY, error="not started before it expired"
)
