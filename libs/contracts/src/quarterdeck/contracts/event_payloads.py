"""What each domain event tells in its `data`: described for readers outside (asyncapi.py), built by the writers.

Readers must ignore members that they do not know: these only grow. Times are Unix milliseconds and end in `_ms`.
"""

from typing import Any, Final

import msgspec

from quarterdeck.contracts import events
from quarterdeck.contracts.commands import CommandSpec


class _Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Grows; never forbids unknown members."""


class _OfCommand(_Payload, frozen=True, kw_only=True):
    command_id: str
    batch_id: str | None = None


class SpecDocument(_Payload, frozen=True, kw_only=True):
    """A CommandSpec as JSON; see commands.py for the members' meaning."""

    type: str
    command_type: str
    payload: str
    """JSON text."""
    working_directory: str | None = None
    env: dict[str, str] = {}
    timeout_ms: int | None = None
    """Absent: the default of an hour."""
    timeout_from: str | None = None
    """`creation`; absent: process start."""
    no_output_timeout_ms: int | None = None
    grace_ms: int | None = None
    priority: int | None = None
    queue_for_ms: int | None = None
    retry: dict[str, int] = {}
    max_output_bytes: int | None = None
    """Kept of each stream. Absent: the default of 256 MiB."""
    depends_on: list[str] = []
    """Commands and batches that had to succeed first."""
    needs_approval: bool = False


class CommandAccepted(_OfCommand, frozen=True, kw_only=True):
    """A single command was taken in. Children of a batch have no such event: `batch.created` names them."""

    agent_id: str
    user_id: str
    spec: SpecDocument
    guest: str | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    session_id: str | None = None
    """Of the conversation that it belongs to; then `agent_id` is `*` until somebody gets it."""
    round: int | None = None
    """Its number in the session."""


class CommandMoved(_OfCommand, frozen=True, kw_only=True):
    """A command entered a state. States may be skipped: `command.started` in particular is optional."""

    state: str
    attempt: int
    agent_id: str
    guest: str | None = None
    reason: str | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: str | None = None
    """JSON text."""
    cached_from: str | None = None
    """The command whose answer this one was given instead of being sent."""
    via: str | None = None
    """The wire that it took, as `links.Via` writes it."""
    gateway_id: str | None = None
    sent_at_ms: int | None = None
    accepted_at_ms: int | None = None
    started_at_ms: int | None = None
    last_output_at_ms: int | None = None
    completed_at_ms: int | None = None
    epoch: str | None = None
    """Of the link that it went out on."""
    updated_at_ms: int | None = None
    """When it was stored, by the clock that deadlines go by."""
    deadline_at_ms: int | None = None
    """When it is given up if nothing more is heard; not with an end."""
    deliver_by_ms: int | None = None
    """Until when it must have started, where that changed."""
    stdout_bytes: int | None = None
    """What is kept of the stream; with an end."""
    stderr_bytes: int | None = None
    stdout_sha256: str | None = None
    """Hex, the agent's, over what is kept."""
    stderr_sha256: str | None = None
    stdout_verified: int | None = None
    """1: the log has exactly what the agent says."""
    stderr_verified: int | None = None
    stdout_truncated: int | None = None
    """Bytes behind those, which the command printed beyond `max_output_bytes` and nobody has. Absent: none."""
    stderr_truncated: int | None = None


class CommandOutputLost(_OfCommand, frozen=True, kw_only=True):
    """A part of a stream is missing from the log, and always will be."""

    agent_id: str | None = None
    attempt: int | None = None
    stream: str | None = None
    from_offset: int | None = None
    """The first byte that is missing."""
    to_offset: int | None = None
    """The byte behind the last one that is missing."""


class BatchCreated(_Payload, frozen=True, kw_only=True):
    """A batch was taken in. Large ones take several events of one version; the first tells all but later targets."""

    batch_id: str
    offset: int | None = None
    targets: list[str] = []
    """`agent` or `agent/guest`; the index from the batch's start gives the child's id."""
    total: int | None = None
    user_id: str | None = None
    execution_alias: str | None = None
    spec: SpecDocument | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    parts: int | None = None
    """How many events tell the creation."""
    original_request: str | None = None
    """A slice of the request's body as it came; the parts' slices in their order make it whole."""


class BatchMoved(_Payload, frozen=True, kw_only=True):
    """A batch's state or counts changed; coalesced."""

    batch_id: str
    state: str
    counts: dict[str, int] = {}
    """Children per state."""
    total: int | None = None


class AgentEvent(_Payload, frozen=True, kw_only=True):
    """An agent's link, enrolment or guests changed. The aggregate is the agent."""

    agent_id: str | None = None
    gateway_id: str | None = None
    carrier: str | None = None
    since_ms: int | None = None
    """When the link began."""
    reason: str | None = None
    """Why it ended; a LinkEnd."""
    principal: str | None = None
    """Who revoked it."""
    guests: tuple[str, ...] | None = None
    """All that it has now. Told when they change while it is connected; what it came with is in its record."""


class AgentRefused(_Payload, frozen=True, kw_only=True):
    """A gateway turned away an agent of another protocol. The aggregate is the name that it gave, not an agent."""

    dialect: str
    identity: str
    """What it called itself, as the dialect writes it."""
    peer: str
    """Address that it came from."""
    reason: str
    """`unknown_identity`, `wrong_secret` or `revoked`."""
    agent_id: str | None = None
    """Whom the name means, where somebody registered it."""
    unreported: int | None = None
    """Refusals of this name since the event before, which had none of their own."""


class PolicyRefused(_Payload, frozen=True, kw_only=True):
    """Somebody ordered what the tenant's policy does not allow; nothing was created. The aggregate is the refusal."""

    user_id: str
    command_type: str
    targets: int


class PolicyApproved(_Payload, frozen=True, kw_only=True):
    """Somebody approved what the tenant's policy held back. The aggregate is the approval."""

    subject_id: str
    """The command or the batch."""
    approved_by: str


class SessionCreated(_Payload, frozen=True, kw_only=True):
    """A conversation began. The aggregate is the session."""

    session_id: str
    owner: str


class SessionRoundCreated(_Payload, frozen=True, kw_only=True):
    """A session's command was received, with the round that it makes: seed 3's domain event. Correlated by command."""

    session_id: str
    aggregate_type: str
    """`Session`."""
    event_type: str
    """Seed 3's name: `<Scope>.Session.Command.Received`."""
    command_id: str
    command_type: str
    payload: str
    """JSON text, or what the serializer in use made of it."""
    round: int
    """From 1, without gaps."""
    owner: str
    session_created_at_ms: int


PAYLOADS: Final[dict[str, type[msgspec.Struct]]] = {
    events.COMMAND_ACCEPTED: CommandAccepted,
    "command.waiting": CommandMoved,
    "command.sent": CommandMoved,
    "command.acknowledged": CommandMoved,
    "command.started": CommandMoved,
    "command.terminating": CommandMoved,
    "command.completed": CommandMoved,
    events.COMMAND_ATTEMPT_FAILED: CommandMoved,
    events.COMMAND_OUTPUT_LOST: CommandOutputLost,
    events.BATCH_CREATED: BatchCreated,
    events.BATCH_PROGRESSED: BatchMoved,
    events.BATCH_TERMINATING: BatchMoved,
    events.BATCH_COMPLETED: BatchMoved,
    events.SESSION_CREATED: SessionCreated,
    events.SESSION_ROUND_CREATED: SessionRoundCreated,
    events.POLICY_REFUSED: PolicyRefused,
    events.POLICY_APPROVED: PolicyApproved,
    "agent.enrolled": AgentEvent,
    "agent.connected": AgentEvent,
    "agent.disconnected": AgentEvent,
    events.AGENT_REVOKED: AgentEvent,
    events.AGENT_GUESTS_CHANGED: AgentEvent,
    events.AGENT_REFUSED: AgentRefused,
}
"""Every event type that `qd.event.>` carries, with what its `data` holds."""


def spec_document(spec: CommandSpec) -> dict[str, Any]:
    """`spec` as SpecDocument's members. No member is an empty container: the store's scripts cannot tell {} from []."""
    document: dict[str, Any] = msgspec.to_builtins(spec, builtin_types=(bytes,))
    document["payload"] = spec.payload.decode()
    return {name: value for name, value in document.items() if value not in ({}, [])}
