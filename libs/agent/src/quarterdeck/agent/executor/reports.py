"""What the executor says about commands, and what the gateway has confirmed of it.

Every report gets a number, goes to the outlet until it is acknowledged, and is kept with its command, so that a
duplicate order gets the same answer again. An end is written to the journal before it is said; its acknowledgement lets
go of the command's output.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from quarterdeck.agent.executor.journal.entries import CommandKey, Entry, Phase, Report
from quarterdeck.agent.executor.journal.journal import Journal
from quarterdeck.agent.executor.journal.records import Exited
from quarterdeck.agent.executor.outcome import Outcome, result_message
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.spool import Spools
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason

_RUN_SHIFT: Final = 40
"""report_seq = run of the executor << 40 | number: an acknowledgement that an earlier executor was meant to get never
confirms a report of this one. A billion reports take less than a thousandth of a run's numbers."""


class Reporter:
    """Writes reports and takes their acknowledgements."""

    def __init__(self, journal: Journal, outlet: Outlet, spools: Spools, clock: Clock) -> None:
        self._journal = journal
        self._outlet = outlet
        self._spools = spools
        self._clock = clock
        self._number = itertools.count(1)
        self.unconfirmed_ends = 0
        """Commands that have ended without the gateway knowing for sure."""

    def accepted(self, entry: Entry) -> None:
        """The order is in the journal for good."""
        seq, key = self._next_seq(), entry.key
        entry.accepted = True
        message = pb.AgentMessage(
            accepted=pb.Accepted(
                report_seq=seq, command_id=key.command_id, attempt=key.attempt, at_ms=self._clock.now_ms()
            )
        )
        self._say(entry, Report(seq, message.SerializeToString(), key))

    def rejected(self, entry: Entry, reason: RejectReason, error: str) -> None:
        seq, key = self._next_seq(), entry.key
        message = pb.AgentMessage(
            rejected=pb.Rejected(
                report_seq=seq,
                command_id=key.command_id,
                attempt=key.attempt,
                at_ms=self._clock.now_ms(),
                reason=reason,
                error=error,
            )
        ).SerializeToString()
        self._journal.exited(entry, Exited(key, entry.batch_id, seq, message))
        self._end(entry, Report(seq, message, key, final=True))

    def started(self, entry: Entry, at_ms: int) -> None:
        seq, key = self._next_seq(), entry.key
        message = pb.AgentMessage(
            started=pb.Started(report_seq=seq, command_id=key.command_id, attempt=key.attempt, at_ms=at_ms)
        )
        self._say(entry, Report(seq, message.SerializeToString(), key))

    def result(self, entry: Entry, outcome: Outcome, *, traceparent: str = "") -> None:
        """The end. Goes out after the last byte of the command's output."""
        seq, key, output = self._next_seq(), entry.key, entry.output
        stdout, stderr = self._spools.put_by(output) if output is not None else (None, None)
        message = result_message(
            key, outcome, seq=seq, now_ms=self._clock.now_ms(), output=output, traceparent=traceparent
        )
        self._journal.exited(entry, Exited(key, entry.batch_id, seq, message, stdout, stderr))
        self._end(entry, Report(seq, message, key, output=output, final=True))

    def terminate_acknowledged(self, key: CommandKey, *, never_started: bool = False) -> None:
        """The cancel is in the journal for good. `never_started`: and nothing else is in it of this command."""
        seq = self._next_seq()
        message = pb.AgentMessage(
            terminate_ack=pb.TerminateAck(
                report_seq=seq,
                command_id=key.command_id,
                attempt=key.attempt,
                at_ms=self._clock.now_ms(),
                never_started=never_started,
            )
        )
        self._outlet.report(Report(seq, message.SerializeToString(), key))

    def once_durable(self, say: Callable[[], None]) -> None:
        """Call `say` when everything that was recorded so far is durable; never, when the disk fails.

        Several are called in the order in which they were given.
        """

        def then(done: "asyncio.Future[None]") -> None:
            if done.exception() is None:
                say()

        self._journal.durable().add_done_callback(then)

    def restored(self, entry: Entry, exited: Exited) -> None:
        """An end that an executor before us recorded, and that the gateway may not know."""
        entry.accepted = True
        message = pb.AgentMessage.FromString(exited.message)
        if exited.stdout is not None and exited.stderr is not None:
            rests = (exited.stdout, exited.stderr)
            entry.output = self._spools.restored(entry.key, rests, message.result)
            self._outlet.add(entry.output)
        self._end(
            entry, Report(exited.report_seq, exited.message, entry.key, output=entry.output, final=True)
        )

    def repeat(self, entry: Entry) -> None:
        """Everything about this command once more: its order came twice."""
        for report in entry.reports:
            self._outlet.report(report)

    def acknowledged(self, seq: int) -> None:
        report = self._outlet.acknowledge_report(seq)
        if report is None or not report.final:
            return
        entry = self._journal.find(report.key)
        if entry is None or entry.phase is Phase.REPORTED:
            return
        self.unconfirmed_ends -= 1
        output = entry.output
        self._journal.reported(entry)
        if output is not None:
            self._outlet.remove(output)  # its files too: nobody will look for them any more

    def _end(self, entry: Entry, report: Report) -> None:
        self.unconfirmed_ends += 1
        if report.output is not None:
            self._outlet.flush(report.output)
        self._say(entry, report)

    def _say(self, entry: Entry, report: Report) -> None:
        entry.reports.append(report)
        self._outlet.report(report)

    def _next_seq(self) -> int:
        return self._journal.run << _RUN_SHIFT | next(self._number)
