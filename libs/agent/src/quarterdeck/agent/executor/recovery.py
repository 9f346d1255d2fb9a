"""What becomes of the commands that an earlier executor left unfinished. Runs once, when the executor starts.

    received             waits again, as if its order had just come; one that was cancelled has its end
    starting, running    its processes are ended, if the host is still the same boot; then outcome_unknown: it may have
                         started, may have done all its work, and nobody saw its end
    exited               its Result is said again, with the output that the store lacks
    reported             known, so that its order starts nothing

Output that a running command had printed, and that was not stored, is lost with the executor; its Result claims nothing
of it.
"""

import asyncio
from typing import Final, Protocol

import structlog

from quarterdeck.agent.executor.journal import records
from quarterdeck.agent.executor.journal.entries import CommandKey, Entry
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


class Recovery:
    """`run` after the journal was opened; then let `clean_up` run beside everything else."""

    def __init__(self, journal: Journal, reporter: Reporter, table: ProcTable, boot_id: str) -> None:
        self._journal = journal
        self._reporter = reporter
        self._table = table
        self._boot_id = boot_id
        self._interrupted: list[tuple[Entry, ProcessTree | None, ResultReason]] = []

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
        await asyncio.gather(*(self._end(*interrupted) for interrupted in self._interrupted))

    def _received(self, entry: Entry, record: records.Received, resume: Resume) -> None:
        order = pb.Order.FromString(record.order)
        entry.batch_id = order.batch_id
        if self._journal.damaged and not self._journal.cancelled(entry.key):
            # What came behind this record is lost, and may have said that it started.
            self._interrupted.append(
                (entry, self._tree(entry.key, 0, 0, boot_id=self._boot_id), ResultReason.EXECUTOR_KILLED)
            )
        else:
            resume(entry, order)

    def _interrupted_by(self, entry: Entry, record: records.Starting | records.Running) -> None:
        same_boot = record.boot_id == self._boot_id
        pid, started_ticks = (
            (record.pid, record.started_ticks) if isinstance(record, records.Running) else (0, 0)
        )
        tree = self._tree(entry.key, pid, started_ticks, boot_id=record.boot_id)
        reason = ResultReason.EXECUTOR_KILLED if same_boot else ResultReason.HOST_REBOOTED
        self._interrupted.append((entry, tree, reason))

    def _tree(self, key: CommandKey, pid: int, started_ticks: int, *, boot_id: str) -> ProcessTree | None:
        """None: nothing survives a reboot."""
        if boot_id != self._boot_id:
            return None
        return ProcessTree.left_behind(pid, started_ticks, marker_of(key), self._table)

    async def _end(self, entry: Entry, tree: ProcessTree | None, reason: ResultReason) -> None:
        gone = tree is None or not tree.members() or await stop_tree(tree, grace_s=_GRACE_S)
        error = _ERRORS[reason] if gone else f"{_ERRORS[reason]}; a process of it survived SIGKILL"
        log.warning("executor.command_interrupted", command_id=entry.key.command_id, reason=reason, gone=gone)
        self._reporter.result(entry, Outcome(end=pb.OUTCOME_UNKNOWN, reason=reason, error=error))


_ERRORS: Final = {
    ResultReason.EXECUTOR_KILLED: "the agent's executor died while this command ran or was about to",
    ResultReason.HOST_REBOOTED: "the machine went down while this command ran or was about to",
}
