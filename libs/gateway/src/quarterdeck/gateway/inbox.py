"""What an agent says on its link, frame by frame: output and results to `link_output`, all else to the aggregator.

Owns the decoding, and the reports of this link that the bus has not confirmed. Does not touch the connection. Whatever
no agent of ours would send raises LinkRefused and so ends the link, this one alone. Called by the native link.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.reports import StreamReport
from quarterdeck.gateway.link import Link, LinkParts
from quarterdeck.gateway.link_output import LinkOutput
from quarterdeck.gateway.messages import SimpleReport, check_wire_id, guests_of, report_of, result_of
from quarterdeck.gateway.reports_out import LinkReceipt
from quarterdeck.gateway.send_queue import SendQueue
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

log = structlog.get_logger()

MAX_JOURNAL_ENTRIES: Final = 4096
_LOGGED_HEARTBEAT: Final = 20
"""Every 20th is logged. Source: S1-13."""


class ReportingLink(Link, LinkReceipt, Protocol):
    """Whose inbox it is."""


class Inbox:
    def __init__(self, parts: LinkParts, link: ReportingLink, output: LinkOutput, queue: SendQueue) -> None:
        self.agent_left = False
        """The agent said goodbye."""
        self._clock = parts.clock
        self._metrics = parts.metrics
        self._reports = parts.reports
        self._guests = parts.guests
        self._link = link
        self._output = output
        self._queue = queue
        self._heartbeats = 0
        self._ends: dict[
            int, tuple[str, int]
        ] = {}  # report_seq of an end that waits for the bus → its command

    def remember(self, journal: Sequence[pb.JournalEntry]) -> None:
        """What the agent had on hand when it came: reports and output of these commands will follow."""
        if len(journal) > MAX_JOURNAL_ENTRIES:
            raise LinkRefused(LinkEnd.PROTOCOL, f"a journal of {len(journal)} entries")
        for entry in journal:
            check_wire_id(entry.command_id, "command_id")
            batch_id = check_wire_id(entry.batch_id, "batch_id") if entry.batch_id else None
            self._output.carry(entry.command_id, entry.attempt, batch_id)

    def take_frame(self, raw: bytes) -> None:
        """One AgentFrame, serialised. Raises LinkRefused: undecodable, protocol, overflow."""
        try:
            frame = pb.AgentFrame.FromString(raw)
        except ProtobufDecodeError:
            raise LinkRefused(LinkEnd.UNDECODABLE, f"a frame of {len(raw)} bytes") from None
        for message in frame.messages:
            self._take(message)
        self._output.end_of_frame()

    def reported(self, report_seqs: list[int]) -> None:
        """The bus has these reports: what ended with one of them is over."""
        for report_seq in report_seqs:
            ended = self._ends.pop(report_seq, None)
            if ended is not None:
                self._output.forget(*ended)

    def report_result(self, result: pb.Result, stdout: StreamReport, stderr: StreamReport) -> None:
        """All output of this result is stored: it may go on."""
        self._ends[result.report_seq] = (result.command_id, result.attempt)
        self._reports.add(
            self._link.tenant,
            result_of(result, self._link.agent_id, stdout, stderr),
            receipt=self._link,
            report_seq=result.report_seq,
            traceparent=result.traceparent,
        )

    def _take(self, message: pb.AgentMessage) -> None:
        kind = message.WhichOneof("body")
        if kind == "output":
            self._output.take(message.output)
        elif kind == "result":
            self._take_result(message.result)
        elif kind == "accepted":
            self._note_response(message.accepted.command_id, message.accepted.attempt)
            self._report(message.accepted)
        elif kind == "started":
            self._report(message.started)
        elif kind == "heartbeat":
            self._answer_heartbeat(message.heartbeat)
        elif kind == "rejected":
            rejected = message.rejected
            self._note_response(rejected.command_id, rejected.attempt)
            self._ends[rejected.report_seq] = (rejected.command_id, rejected.attempt)
            self._report(rejected)
        elif kind == "terminate_ack":
            self._report(message.terminate_ack)
        elif kind == "guest_list":
            self._guests.announced(self._link, guests_of(message.guest_list.guests))
        elif kind == "goodbye":
            self.agent_left = True
            log.info(
                "gateway.agent_said_goodbye", agent_id=self._link.agent_id, reason=message.goodbye.reason[:64]
            )
        elif kind in {"hello", "enrol"}:
            raise LinkRefused(LinkEnd.PROTOCOL, "a second opening")
        # Anything else is of a newer protocol, and ignored.

    def _report(self, message: SimpleReport) -> None:
        report = report_of(message, self._link.agent_id)
        self._reports.add(self._link.tenant, report, receipt=self._link, report_seq=message.report_seq)

    def _take_result(self, result: pb.Result) -> None:
        check_wire_id(result.command_id, "command_id")
        self._note_response(result.command_id, result.attempt)
        if result.report_seq not in self._ends:  # else: repeated because the bus is slow
            self._output.finish(result)

    def _note_response(self, command_id: str, attempt: int) -> None:
        command = self._output.find(command_id, attempt)
        if command is not None and command.written_at_s is not None:
            self._metrics.response_s.observe(self._clock.monotonic_s() - command.written_at_s)
            command.written_at_s = None

    def _answer_heartbeat(self, heartbeat: pb.Heartbeat) -> None:
        self._heartbeats += 1
        self._metrics.heartbeats.inc()
        if self._heartbeats % _LOGGED_HEARTBEAT == 0:
            log.info(
                "gateway.heartbeats_received",
                tenant=self._link.tenant,
                agent_id=self._link.agent_id,
                count=self._heartbeats,
            )
        ack = pb.HeartbeatAck(at_ms=heartbeat.at_ms, server_time_ms=self._clock.now_ms())
        self._queue.ack_heartbeat(ack)
