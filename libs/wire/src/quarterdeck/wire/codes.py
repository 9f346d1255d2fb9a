"""Stable codes that travel as text in frames: the reasons in a Goodbye, a Rejected and a Result.

Both ends use these names. A reader that meets a code it does not know treats it as the general case.
The reasons why a gateway ends a link are contracts.links.LinkEnd; GoodbyeReason adds what only the opening
knows.
"""

from enum import StrEnum
from typing import Final

ALPN: Final = "quarterdeck/1"
"""Names the protocol in the QUIC handshake."""
GRPC_METHOD: Final = "/quarterdeck.agent.v1.AgentLink/Connect"
"""Where the gRPC carrier calls."""


class GoodbyeReason(StrEnum):
    IDENTITY_CONFLICT = "identity_conflict"
    """The agent id is enrolled with another key."""
    JOIN_TOKEN_INVALID = "join_token_invalid"
    """Unknown, expired or used up."""
    LEAVING = "leaving"
    """The agent stops."""
    UNAVAILABLE = "unavailable"
    """The gateway cannot reach the bus: come again, later or elsewhere."""


class RejectReason(StrEnum):
    INVALID_PAYLOAD = "invalid_payload"
    GUEST_UNSUPPORTED = "guest_unsupported"
    """This agent has no such guest, or no way to it by the command's protocol."""
    OVERLOADED = "overloaded"
    """Too many commands wait on the agent already."""
    STOPPING = "stopping"
    """The agent is going away and takes nothing new."""
    SPOOL_FULL = "spool_full"
    """The agent's disk has no room to remember the command, so it must not start."""
    UNSUPPORTED_BY_DIALECT = "unsupported_by_dialect"
    """The protocol that this agent speaks cannot carry the command. Said by the gateway; nothing was sent."""


class ResultReason(StrEnum):
    EXECUTION = "execution"
    """timed_out: it ran longer than its timeout."""
    DELIVERY = "delivery"
    """timed_out: it did not start before its order expired, and never will."""
    NO_OUTPUT = "no_output"
    """timed_out: it printed nothing for longer than its no-output timeout."""
    SIGNAL = "signal"
    """failed: a signal that we did not send ended it."""
    SPAWN_FAILED = "spawn_failed"
    """failed: no such directory, no such program, not executable, out of processes."""
    UNKNOWN_COMMAND = "unknown_command"
    """failed: no handler of that type."""
    INVALID_PAYLOAD = "invalid_payload"
    """failed: the handler's parameters do not fit."""
    CANNOT_EXECUTE = "cannot_execute"
    """failed: the handler's precheck said no."""
    EXECUTION_FAILED = "execution_failed"
    """failed: the handler raised."""
    MD5_MISMATCH = "md5_mismatch"
    """failed: what arrived of the output is not what the agent of another system says it sent."""
    PROTOCOL = "protocol"
    """failed: the answer of an agent of another system contradicts itself."""
    NOT_PROVEN = "not_proven"
    """outcome_unknown: told to stop, and something of it may still be running."""
    AGENT_STOPPED = "agent_stopped"
    """terminated: the agent was told to stop."""
    EXECUTOR_KILLED = "executor_killed"
    """outcome_unknown: the agent's executor died while the command ran, or was about to; what was left was ended."""
    HOST_REBOOTED = "host_rebooted"
    """outcome_unknown: the machine went down while the command ran, or was about to."""
    LINK_LOST = "link_lost"
    """outcome_unknown: the link ended while the command ran, and its agent's protocol cannot say what became of it."""
    MAY_STILL_RUN = "may_still_run"
    """terminated, timed_out: given up here, because the protocol of its agent has no word for a stop."""
    GUEST_UNREACHABLE = "guest_unreachable"
    """failed: nothing in the guest, or in its QEMU, answers there; nothing was done."""
    GUEST_PAUSED = "guest_paused"
    """failed: the guest does not run, so nothing in it can answer; nothing was done."""
    GUEST_REFUSED = "guest_refused"
    """failed: QEMU or the guest's agent understood, and declined."""
    GUEST_LOST = "guest_lost"
    """outcome_unknown: the guest, or the way to it, went away when the command had been given to it."""
