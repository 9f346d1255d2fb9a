"""Messages that carry orders: api → dispatcher on QD_COMMANDS, dispatcher → gateway as core NATS requests.

A message carries many commands with one spec; a single command is a chunk of one, so there is one road, not two.
"""

from enum import StrEnum

import msgspec

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Epoch


class DispatchItem(msgspec.Struct, frozen=True, array_like=True):
    command_id: str
    agent_id: str
    guest: str | None = None


class DispatchChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="dispatch_chunk/1"):
    """Up to CHUNK_TARGETS commands of one spec, to be created where absent (children) and sent."""

    tenant: str
    user_id: str
    spec: CommandSpec
    items: tuple[DispatchItem, ...]
    created_at_ms: int
    batch_id: str | None = None


class TerminateRequest(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="terminate_request/1"
):
    """Stop one command, or every unfinished child of a batch. Exactly one of the ids is set."""

    tenant: str
    command_id: str | None = None
    batch_id: str | None = None


class WakeRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="wake_request/1"):
    """What a command, or all children of a batch, depend on has ended. Exactly one of the ids is set."""

    tenant: str
    command_id: str | None = None
    batch_id: str | None = None


QueuedMessage = DispatchChunk | TerminateRequest | WakeRequest
"""What QD_COMMANDS carries."""


class GatewayOrder(msgspec.Struct, frozen=True, array_like=True):
    """One command for one link of the gateway that is asked."""

    command_id: str
    agent_id: str
    attempt: int
    epoch: Epoch
    timeout_ms: int
    """What is left of the spec's timeout, for specs whose timeout runs from creation."""
    guest: str | None = None


class GatewayOrders(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="gateway_orders/1"):
    """dispatcher → `qd.gateway.<id>.order`."""

    tenant: str
    spec: CommandSpec
    orders: tuple[GatewayOrder, ...]
    batch_id: str | None = None
    handover: str = ""
    """Names this hand-over of these attempts. What a gateway proves of it, it proves of no other one."""
    expires_ms: int = 0
    """Unix ms: an order that has not started by then never starts. 0: none."""


class OrderAnswer(StrEnum):
    QUEUED = "queued"
    """In the link's queue. If it cannot be written after all, a `returned` report follows."""
    WAITING = "waiting"
    """An earlier hand-over of the same attempt is still in the link's queue; nothing was taken."""
    BUSY = "busy"
    """The link's queue is full; nothing was taken."""
    GONE = "gone"
    """No link of this agent here, or its epoch differs; nothing was taken."""


class OrderAnswers(msgspec.Struct, frozen=True, tag="order_answers/1"):
    answers: tuple[OrderAnswer, ...]
    """In the order of the request."""


class TerminateItem(msgspec.Struct, frozen=True, array_like=True):
    command_id: str
    agent_id: str
    attempt: int
    grace_ms: int


class GatewayTerminate(msgspec.Struct, frozen=True, kw_only=True, tag="gateway_terminate/1"):
    """dispatcher → `qd.gateway.<id>.control`. Answered like orders; repeated until the agent acknowledges or ends."""

    tenant: str
    items: tuple[TerminateItem, ...]


class GatewayCloseLinks(msgspec.Struct, frozen=True, kw_only=True, tag="gateway_close_links/1"):
    """Close these agents' links now, e.g. because the agent was revoked."""

    tenant: str
    agent_ids: tuple[str, ...]
    reason: str


ControlMessage = GatewayTerminate | GatewayCloseLinks
