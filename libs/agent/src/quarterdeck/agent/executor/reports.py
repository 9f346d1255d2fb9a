"""What the executor says about commands, and what the gateway has confirmed of it.

Every report gets a number, goes to the outlet until it is acknowledged, and is kept with its command, so that a
duplicate order gets the same answer again. The acknowledged end of a command lets go of its output.
"""

import itertools

from quarterdeck.agent.executor.journal import CommandKey, Entry, Journal, Phase, Report
from quarterdeck.agent.executor.outcome import Outcome, result_message
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason


class Reporter:
    """Writes reports and takes their acknowledgements."""

    def __init__(self, journal: Journal, outlet: Outlet, clock: Clock) -> None:
        self._journal = journal
        self._outlet = outlet
        self._clock = clock
        self._seq = itertools.count(1)
        self.unconfirmed_ends = 0
        """Commands that have ended without the gateway knowing for sure."""

    def accepted(self, entry: Entry) -> None:
        seq, key = next(self._seq), entry.key
        message = pb.AgentMessage(
            accepted=pb.Accepted(
                report_seq=seq, command_id=key.command_id, attempt=key.attempt, at_ms=self._clock.now_ms()
            )
        )
        self._report(entry, Report(seq, message.SerializeToString(), key))

    def rejected(self, entry: Entry, reason: RejectReason, error: str) -> None:
        seq, key = next(self._seq), entry.key
        message = pb.AgentMessage(
            rejected=pb.Rejected(
                report_seq=seq,
                command_id=key.command_id,
                attempt=key.attempt,
                at_ms=self._clock.now_ms(),
                reason=reason,
                error=error,
            )
        )
        self.unconfirmed_ends += 1
        self._report(entry, Report(seq, message.SerializeToString(), key, final=True))

    def started(self, entry: Entry, at_ms: int) -> None:
        seq, key = next(self._seq), entry.key
        message = pb.AgentMessage(
            started=pb.Started(report_seq=seq, command_id=key.command_id, attempt=key.attempt, at_ms=at_ms)
        )
        self._report(entry, Report(seq, message.SerializeToString(), key))

    def result(self, entry: Entry, outcome: Outcome, *, traceparent: str) -> None:
        """The end. Goes out after the last byte of the command's output."""
        seq = next(self._seq)
        message = result_message(
            entry.key,
            outcome,
            seq=seq,
            now_ms=self._clock.now_ms(),
            output=entry.output,
            traceparent=traceparent,
        )
        self.unconfirmed_ends += 1
        if entry.output is not None:
            self._outlet.flush(entry.output)
        self._report(entry, Report(seq, message, entry.key, output=entry.output, final=True))

    def terminate_acknowledged(self, key: CommandKey) -> None:
        seq = next(self._seq)
        message = pb.AgentMessage(
            terminate_ack=pb.TerminateAck(
                report_seq=seq, command_id=key.command_id, attempt=key.attempt, at_ms=self._clock.now_ms()
            )
        )
        self._outlet.report(Report(seq, message.SerializeToString(), key))

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
        if entry.output is not None:
            self._outlet.remove(entry.output)
        self._journal.reported(entry)

    def _report(self, entry: Entry, report: Report) -> None:
        entry.reports.append(report)
        self._outlet.report(report)
