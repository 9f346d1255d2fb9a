"""Reads an Order: what is to run, or why it cannot. The decision to run is commands.py's."""

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.agent.catalogue import Catalogue
from quarterdeck.agent.executor import shell
from quarterdeck.agent.executor.guest_port import GuestPort
from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.shell import InvalidPayload, Plan
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution, UnknownToGuests, plan_for_guest
from quarterdeck.contracts import agent_calls
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason


class OrderRefused(Exception):
    """The order is rejected: nothing starts. `reason`: a RejectReason."""

    def __init__(self, reason: RejectReason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that makes sense."""

    key: CommandKey
    command_type: str
    payload: bytes
    plan: Plan | GuestExecution | GuestCall | None
    """What to execute; None for a handler's command (which may turn out to be unknown)."""
    working_directory: str
    environment: dict[str, str]
    timeout_s: float | None
    no_output_timeout_s: float | None
    grace_s: float
    priority: int
    max_output_bytes: int
    """Of each stream; 0: no limit."""
    expires_ms: int
    """By the server's clock; 0: never."""
    traceparent: str
    size_bytes: int
    """What it holds while it waits."""


def read_order(order: pb.Order, catalogue: Catalogue, guests: GuestPort | None) -> WorkOrder:
    """`catalogue`: what this agent runs by name. `guests`: None when it looks for none. Raises OrderRefused."""
    try:
        spec = pb.CommandSpec.FromString(order.spec)
    except ProtobufDecodeError:
        raise OrderRefused(
            RejectReason.INVALID_PAYLOAD, "invalid payload: the spec does not decode"
        ) from None
    try:
        plan = _guest_plan(order.guest, spec, guests) if order.guest else _plan(spec, catalogue)
    except InvalidPayload as error:
        raise OrderRefused(RejectReason.INVALID_PAYLOAD, error.message) from None
    return WorkOrder(
        key=CommandKey(order.command_id, order.attempt),
        command_type=spec.command_type,
        payload=spec.payload,
        plan=plan,
        working_directory=spec.working_directory,
        environment=dict(spec.env),
        timeout_s=_seconds(order.timeout_ms),
        no_output_timeout_s=_seconds(spec.no_output_timeout_ms),
        grace_s=spec.grace_ms / 1000,
        priority=spec.priority,
        max_output_bytes=spec.max_output_bytes,
        expires_ms=order.expires_ms,
        traceparent=order.traceparent,
        size_bytes=len(order.spec),
    )


def _plan(spec: pb.CommandSpec, catalogue: Catalogue) -> Plan | None:
    """None: a handler's command. Raises InvalidPayload."""
    match spec.command_type:
        case agent_calls.CATALOGUE if catalogue.commands:
            return catalogue.plan_for(spec.payload)
        case shell.SHELL | shell.EXEC:
            return shell.plan_for(spec.command_type, spec.payload)
        case _:
            return None


def _guest_plan(guest: str, spec: pb.CommandSpec, guests: GuestPort | None) -> GuestExecution | GuestCall:
    """Raises OrderRefused, InvalidPayload."""
    refusal = guests.refusal(guest, spec.command_type) if guests is not None else f"no guest {guest} here"
    if refusal is not None:
        raise OrderRefused(RejectReason.GUEST_UNSUPPORTED, refusal)
    try:
        return plan_for_guest(guest, spec.command_type, spec.payload)
    except UnknownToGuests:
        text = f"guests execute no {spec.command_type}"
        raise OrderRefused(RejectReason.GUEST_UNSUPPORTED, text) from None


def _seconds(milliseconds: int) -> float | None:
    """0 means: none."""
    return milliseconds / 1000 if milliseconds else None
