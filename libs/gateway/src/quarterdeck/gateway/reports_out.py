"""Reports of all links on their way to the aggregator: coalesced, published in bursts, then acknowledged to the agents.

Whatever is queued when the burst before is confirmed goes out together, per tenant in messages of at most MAX_REPORTS.
There is no timer: an idle gateway publishes at once, a busy one in larger messages. A burst that the bus does not
confirm is published again until it does; agents hear nothing meanwhile, and would repeat their reports elsewhere.
Order is kept per agent. Knows no links: whoever reports may leave a `Receipt`.
"""

import asyncio
from typing import Final, NamedTuple, Protocol

import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES
from quarterdeck.contracts.reports import (
    MAX_REPORTS,
    Accepted,
    Progress,
    Rejected,
    Report,
    ReportBatch,
    Result,
    Returned,
    Started,
    TerminateAcked,
)
from quarterdeck.core import failpoints
from quarterdeck.core.bus import Bus, BusError, Outgoing
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.settings import GatewaySettings

log = structlog.get_logger()

_RETRY_S: Final = 1.0
_REPORT_BYTES: Final = 400
"""Upper bound of a report without its variable parts."""
_BATCH_BYTES: Final = MAX_MESSAGE_BYTES * 3 // 4


_SMALL: Final = frozenset({Accepted, Started, Returned, TerminateAcked})


class Receipt(Protocol):
    """Whoever wants to know that its reports are stored."""

    def reported(self, report_seqs: list[int]) -> None: ...


class LinkReceipt(Receipt, Protocol):
    """A link that reports."""

    tenant: str
    agent_id: str


class _Pending(NamedTuple):
    report: Report
    receipt: Receipt | None
    report_seq: int
    traceparent: str


class ReportPublisher:
    def __init__(self, bus: Bus, settings: GatewaySettings, tasks: TaskSet) -> None:
        self._bus = bus
        self._gateway_id = settings.gateway_id
        self._limit = settings.pending_reports
        self._tasks = tasks
        self._queues: dict[str, list[_Pending]] = {}
        self._count = 0
        self._messages = 0
        self._running = False
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def full(self) -> bool:
        """Links should not be read until `room` returns."""
        return self._count >= self._limit

    async def room(self) -> None:
        await self._room.wait()

    async def idle(self) -> None:
        """Return when everything that was added is stored."""
        await self._idle.wait()

    def add(
        self,
        tenant: str,
        report: Report,
        *,
        receipt: Receipt | None = None,
        report_seq: int = 0,
        traceparent: str = "",
    ) -> None:
        """`receipt.reported([report_seq])` follows once the bus has it."""
        self._queues.setdefault(tenant, []).append(_Pending(report, receipt, report_seq, traceparent))
        self._count += 1
        if self.full:
            self._room.clear()
        if not self._running:
            self._running = True
            self._idle.clear()
            self._tasks.spawn(self._run(), "reports_out")

    async def _run(self) -> None:
        while self._queues:
            queues, self._queues = self._queues, {}
            messages = [
                message for tenant, queue in queues.items() for message in self._messages_of(tenant, queue)
            ]
            await self._store(messages)
            for queue in queues.values():
                self._count -= len(queue)
                _give_receipts(queue)
            if not self.full:
                self._room.set()
        self._running = False
        self._idle.set()

    def _messages_of(self, tenant: str, queue: list[_Pending]) -> list[Outgoing]:
        messages: list[Outgoing] = []
        start, size_bytes = 0, 0
        for index, pending in enumerate(queue):
            report_bytes = _size_bytes(pending.report)
            if index > start and (index - start >= MAX_REPORTS or size_bytes + report_bytes > _BATCH_BYTES):
                messages.append(self._message(tenant, queue[start:index]))
                start, size_bytes = index, 0
            size_bytes += report_bytes
        messages.append(self._message(tenant, queue[start:]))
        return messages

    def _message(self, tenant: str, part: list[_Pending]) -> Outgoing:
        batch = ReportBatch(
            gateway_id=self._gateway_id, tenant=tenant, reports=tuple(pending.report for pending in part)
        )
        self._messages += 1
        # A message of many commands can continue one trace only: the first that is sampled.
        traceparent = next((pending.traceparent for pending in part if pending.traceparent), "")
        return Outgoing(
            subject=subjects.report(tenant, self._gateway_id),
            body=codec.encode(batch),
            msg_id=f"{self._gateway_id}-{self._messages}",
            headers={"traceparent": traceparent} if traceparent else None,
        )

    async def _store(self, messages: list[Outgoing]) -> None:
        while True:
            try:
                await self._bus.publish_many(messages)
                failpoints.reach("gateway.after_report_publish")
                return
            except (Unavailable, BusError) as error:
                log.warning("gateway.reports_delayed", messages=len(messages), error=error.message)
                await asyncio.sleep(_RETRY_S)


def _give_receipts(queue: list[_Pending]) -> None:
    stored: dict[Receipt, list[int]] = {}
    for pending in queue:
        if pending.receipt is not None:
            stored.setdefault(pending.receipt, []).append(pending.report_seq)
    for receipt, report_seqs in stored.items():
        receipt.reported(report_seqs)


def _size_bytes(report: Report) -> int:
    if type(report) in _SMALL:
        return _REPORT_BYTES
    if isinstance(report, Result):
        tails = len(report.stdout.tail) + len(report.stderr.tail)
        return _REPORT_BYTES + len(report.result) + 4 * len(report.error) + tails
    if isinstance(report, Rejected):
        return _REPORT_BYTES + 4 * len(report.error)
    if isinstance(report, Progress):
        return _REPORT_BYTES + sum(len(stream.tail) for stream in (report.stdout, report.stderr) if stream)
    return _REPORT_BYTES
