"""What becomes of the commands that an earlier executor left unfinished. Runs once, when the executor starts.

    received             waits again, as if its order had just come; one that was cancelled has its end
    starting, running    its processes are ended, if the host is still the same boot, in a guest as well as here; then
                         outcome_unknown: it may have started, may have done all its work, and nobody saw its end
    exited               its Result is said again, with the output that the store lacks
    reported             known, so that its order starts nothing

Output that a running command had printed, and that was not stored, is lost with the executor; its Result claims nothing
of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple, Protocol

import structlog

from quarterdeck.agent.executor.guest_port import GuestPort
from quarterdeck.agent.executor.journal import records
from quarterdeck.agent.executor.journal.entries import Entry
from quarterdeck.agent.executor.journal.journal import Journal
from quarterdeck.agent.executor.outcome import Outcome
from quarterdeck.agent.executor.proc_table import ProcTable, marker_of
from quarterdeck.agent.executor.reports import Reporter
from quarterdeck.agent.executor.terminate import ProcessTree, stop_tree
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason

log = structlog.get_logger()

_GRACE_S: Final = 5.0
"""Between SIGTERM and SIGKILL, for what is left of a command whose own grace is not known any more."""


class Resume(Protocol):
    """Lets a command wait that had been received."""

    def __call__(self, entry: Entry, order: pb.Order) -> None: ...


class _Interrupted(NamedTuple):
    entry: Entry
    end: Callable[[], Awaitable[bool]] | None
    """Ends what it left behind; whether that is proven. None: nothing survived."""
    reason: ResultReason


class Recovery:
    """`run` after the journal was opened; then let `clean_up` run beside everything else."""

    def __init__(
        self,
        journal: Journal,
        reporter: Reporter,
        table: ProcTable,
        boot_id: str,
        guests: GuestPort | None = None,
    ) -> None:
        self._journal = journal
        self._reporter = reporter
        self._table = table
        self._boot_id = boot_id
        self._guests = guests
        self._interrupted: list[_Interrupted] = []

    def run(self, resume: Resume) -> None:
        """Everything that needs no waiting."""
        for entry in list(self._journal.open_entries()):
            record = self._journal.latest(entry)
            match record:
                case records.Received():
                    self._received(entry, record, resume)
                case records.Starting() | records.Running():
                    self._interrupted_by(entry, record)
                case records.Exited():
                    self._reporter.restored(entry, record)
                case _:
                    raise AssertionError(f"{entry.key} is at {record}")
        log.info(
            "executor.recovered",
            run=self._journal.run,
            open=len(list(self._journal.open_entries())),
            interrupted=len(self._interrupted),
        )

    async def clean_up(self) -> None:
        """End what is left of interrupted commands, and report them."""
        await asyncio.gather(*map(self._end, self._interrupted))

    def _received(self, entry: Entry, record: records.Received, resume: Resume) -> None:
        order = pb.Order.FromString(record.order)
        entry.batch_id, entry.guest = order.batch_id, order.guest
        if self._journal.damaged and not self._journal.cancelled(entry.key):
            # What came behind this record is lost, and may have said that it started.
            end = self._ender(entry, 0, 0)
            self._interrupted.append(_Interrupted(entry, end, ResultReason.EXECUTOR_KILLED))
        else:
            resume(entry, order)

    def _interrupted_by(self, entry: Entry, record: records.Starting | records.Running) -> None:
        if record.boot_id != self._boot_id:  # nothing of it survived, guests neither
            self._interrupted.append(_Interrupted(entry, None, ResultReason.HOST_REBOOTED))
            return
        pid, started_ticks = (
            (record.pid, record.started_ticks) if isinstance(record, records.Running) else (0, 0)
        )
        entry.guest = record.guest
        end = self._ender(entry, pid, started_ticks)
        self._interrupted.append(_Interrupted(entry, end, ResultReason.EXECUTOR_KILLED))

    def _ender(self, entry: Entry, pid: int, started_ticks: int) -> Callable[[], Awaitable[bool]]:
        marker = marker_of(entry.key)
        if entry.guest:
            return (
                _cannot_tell
                if self._guests is None
                else partial(self._guests.end_leftover, entry.guest, marker)
            )
        return partial(_end_tree, ProcessTree.left_behind(pid, started_ticks, marker, self._table))

    async def _end(self, interrupted: _Interrupted) -> None:
        entry, end, reason = interrupted
        gone = end is None or await end()
        error = _ERRORS[reason] if gone else f"{_ERRORS[reason]}; something of it may still be running"
        log.warning("executor.command_interrupted", command_id=entry.key.command_id, reason=reason, gone=gone)
        self._reporter.result(entry, Outcome(end=pb.OUTCOME_UNKNOWN, reason=reason, error=error))


async def _end_tree(tree: ProcessTree) -> bool:
    return not tree.members() or await stop_tree(tree, grace_s=_GRACE_S)


async def _cannot_tell() -> bool:
    """The guest's end of it, for an agent that does not look for guests any more."""
    return False


_ERRORS: Final = {
    ResultReason.EXECUTOR_KILLED: "the agent's executor died while this command ran or was about to",
    ResultReason.HOST_REBOOTED: "the machine went down while this command ran or was about to",
}
