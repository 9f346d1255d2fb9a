"""The ends of a foreign link's commands, from the agent's word until the bus has them. The agent says each only once.

Called by the desk. A result waits in `link_output` until all output before it is stored, and then comes here.
"""

import asyncio
from collections.abc import Callable

from quarterdeck.contracts.reports import StreamReport
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.link import LinkParts
from quarterdeck.gateway.messages import result_of
from quarterdeck.gateway.reports_out import Receipt
from quarterdeck.wire.agent_v1 import agent_pb2 as pb


class Who:
    """The agent behind a desk, as logs and reports name it."""

    def __init__(self, tenant: str, agent_id: str, dialect: str) -> None:
        self.tenant = tenant
        self.agent_id = agent_id
        self.dialect = dialect


class Ends(Receipt):
    """`forget(command)`: its end is stored, so nobody asks for it any more."""

    def __init__(self, who: Who, parts: LinkParts, forget: Callable[[ForeignCommand], None]) -> None:
        self._who = who
        self._reports = parts.reports
        self._forget = forget
        self._expected: dict[tuple[str, int], ForeignCommand] = {}
        self._published: dict[int, ForeignCommand] = {}
        self._settled = asyncio.Event()
        self._settled.set()

    def expect(self, command: ForeignCommand) -> None:
        """Its result is known, and will be published when its output is stored."""
        self._expected[command.key] = command
        self._settled.clear()

    def publish(self, result: pb.Result, stdout: StreamReport, stderr: StreamReport) -> None:
        """All its output is stored."""
        command = self._expected.pop((result.command_id, result.attempt))
        self._published[command.report_seq] = command
        self._reports.add(
            self._who.tenant,
            result_of(result, self._who.agent_id, stdout, stderr),
            receipt=self,
            report_seq=command.report_seq,
            traceparent=result.traceparent,
        )

    def reported(self, report_seqs: list[int]) -> None:
        """The bus has these ends."""
        for report_seq in report_seqs:
            command = self._published.pop(report_seq, None)
            if command is not None:
                self._forget(command)
        if not self._expected and not self._published:
            self._settled.set()

    async def settled(self) -> None:
        """Returns when the bus has all ends that are known."""
        await self._settled.wait()
