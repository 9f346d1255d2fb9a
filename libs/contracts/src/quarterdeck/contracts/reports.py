"""Messages that carry what agents said: gateway → aggregator on QD_REPORTS. One message holds many agents' reports."""

import msgspec

from quarterdeck.contracts.states import CommandState


class StreamReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of one output stream exists and how it can be checked."""

    length: int
    sha256: bytes = b""
    """The agent's digest over all bytes, 32 bytes; empty while the command runs."""
    stored_sha256: bytes = b""
    """The gateway's digest over what the bus stored; empty when it did not see the stream from offset 0."""
    truncated_bytes: int = 0
    """Bytes that the agent cut by policy. 0: nothing is missing."""
    tail: bytes = b""
    """The last TAIL_BYTES at most."""


class _Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    command_id: str
    attempt: int
    agent_id: str
    at_ms: int
    """Agent's clock for what the agent did, gateway's clock for what the gateway did."""


class Accepted(_Report, frozen=True, tag="accepted"):
    """The agent has the order in its journal."""


class Rejected(_Report, frozen=True, tag="rejected"):
    """The agent, or the gateway for it, will not run it; nothing started. `reason`: stable code."""

    reason: str
    error: str


class Started(_Report, frozen=True, tag="started"):
    """The process runs, or the handler was called."""


class Progress(_Report, frozen=True, tag="progress"):
    """Output since the last one, coalesced: at most a few per second and command."""

    stdout: StreamReport | None = None
    stderr: StreamReport | None = None


class Returned(_Report, frozen=True, tag="returned"):
    """The gateway had queued the order, and proves that it never wrote it to a link."""

    handover: str = ""
    """As GatewayOrders said: what one gateway returns, another one may have delivered."""


class TerminateAcked(_Report, frozen=True, tag="terminate_acked"):
    """The agent will start nothing for this command any more."""

    never_started: bool = False
    """The order never reached the agent, and does nothing if it still comes: this is the command's end."""


class Result(_Report, frozen=True, tag="result"):
    """The end, as the agent saw it. Published only after the bus stored all output before it."""

    end: CommandState
    reason: str = ""
    """Stable code, e.g. `execution`, `no_output`, `spawn_failed`, `signal`; empty when the state says it all."""
    exit_code: int | None = None
    signal: int | None = None
    result: bytes = b""
    """JSON text from a handler."""
    error: str = ""
    started_at_ms: int | None = None
    stdout: StreamReport = StreamReport(length=0)
    stderr: StreamReport = StreamReport(length=0)


Report = Accepted | Rejected | Started | Progress | Returned | TerminateAcked | Result


class ReportBatch(msgspec.Struct, frozen=True, kw_only=True, tag="report_batch/1"):
    """On `qd.report.<tenant>.<gateway_id>`; at most MAX_REPORTS reports, in the order each agent gave them."""

    gateway_id: str
    tenant: str
    reports: tuple[Report, ...]


MAX_REPORTS = 256
