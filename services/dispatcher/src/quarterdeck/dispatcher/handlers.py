"""What the dispatcher decides, as pure functions: messages and links in, moves and orders out. No NATS, no Redis."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from secrets import token_hex
from typing import Any, Final

import msgspec

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem, GatewayOrder, GatewayOrders
from quarterdeck.contracts.sessions import ANY_AGENT, whoever_can
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.registry import Found, Gone, Recently
from quarterdeck.core.store import Child, Due, Move, deliver_by

Link = Found | Recently | Gone
Find = Callable[[str, str], Link]
"""(tenant, agent_id or a name of `whoever_can`) → its link, or how long it has had none."""

_CLOCK_GRAIN_MS: Final = 50
"""Single commands that were created within this much travel in one order message, where their timeout runs already."""

_EXPIRY_GRAIN_MS: Final = 5_000
"""The same where it does not: they share the youngest's expiry, and RUN_SLACK_MS is the room for that."""

RETRY_MS: Final = 500
"""Until the next try after a gateway was busy or had lost the link."""


class Decision(msgspec.Struct, frozen=True):
    """What to do with a command that is to be sent. `to` PENDING: nothing yet, look again after `look_in_ms`."""

    to: CommandState
    fields: dict[str, Any]
    look_in_ms: int = 0


class Handover(msgspec.Struct, frozen=True):
    """One order on its way to one gateway."""

    command_id: str
    agent_id: str
    guest: str | None
    attempt: int
    link: Found


class Envelope(msgspec.Struct, frozen=True):
    """What the commands of one message have in common."""

    tenant: str
    user_id: str
    spec: CommandSpec
    created_at_ms: int
    batch_id: str | None
    deliver_by_ms: int
    """The orders expire then: what has not started never starts."""
    headers: dict[str, str]
    """Of the message, for its trace context."""


def new_handover() -> str:
    """A name for one act of handing over."""
    return token_hex(4)


def decide(
    spec: CommandSpec, link: Link, agent_id: str, *, created_at_ms: int, now_ms: int, handover: str
) -> Decision:
    """Send, wait a moment, queue, or give up, by the state of the agent's link."""
    if isinstance(link, Found):
        # Whatever it waited for is no reason of its end.
        waited = {"reason": ""} if spec.held else {}
        sent = {"sent_at_ms": now_ms, "unproved": f"{handover} ", **waited, **link_fields(link)}
        if link.record.agent_id != agent_id:
            sent["agent_id"] = link.record.agent_id  # it was for whoever can do it
        return Decision(CommandState.SENT, sent)
    if isinstance(link, Recently):
        return Decision(CommandState.PENDING, {}, min(link.settles_in_ms, 1_000))
    if spec.queue_for_ms is not None:
        return Decision(CommandState.WAITING, {"deadline_at_ms": created_at_ms + spec.queue_for_ms})
    return Decision(CommandState.UNREACHABLE, unreachable_fields(agent_id, now_ms))


def decide_again(
    one: Due, spec: CommandSpec, link: Link, held: Decision | None, *, now_ms: int, handover: str
) -> Decision | None:
    """As `decide`, for a command that is pending or waits; None: nothing yet. `held`: what its dependencies say."""
    if held is not None:
        return held if held.to is not one.state else None
    decision = decide(
        spec, link, one.agent_id, created_at_ms=one.created_at_ms, now_ms=now_ms, handover=handover
    )
    if decision.to in {CommandState.PENDING, one.state}:
        return None
    return sent_late(decision, spec, now_ms) if one.state is CommandState.WAITING else decision


def may_queue(one: Due, spec: CommandSpec, now_ms: int) -> bool:
    """Whether a command that no gateway could deliver may still wait for its agent, as it was ordered to.

    One that is for whoever can do it has no agent to wait for: it goes to another one.
    """
    if spec.queue_for_ms is None or one.session_id is not None:
        return False
    return now_ms < min(one.created_at_ms + spec.queue_for_ms, one.deliver_by_ms)


def sought(agent_id: str, spec: CommandSpec) -> str:
    """The name to find a link by: the agent's, or that of all who can do it when the command names none."""
    return whoever_can(spec.command_type) if agent_id == ANY_AGENT else agent_id


def link_fields(link: Found) -> dict[str, Any]:
    """What is recorded of the link that a command goes out on."""
    return {"gateway_id": link.gateway_id, "via": str(link.record.via), "epoch": str(link.epoch)}


def unreachable_fields(agent_id: str, now_ms: int) -> dict[str, Any]:
    return {"completed_at_ms": now_ms, "error": f"client not connected: {agent_id}", "reason": "no_link"}


def child_of(item: DispatchItem, decision: Decision) -> Child:
    return Child(
        item.command_id, item.agent_id, item.guest, decision.to, decision.fields, decision.look_in_ms
    )


def sent_late(decision: Decision, spec: CommandSpec, now_ms: int) -> Decision:
    """What `decide` said for a command that waited: if it is sent, its time to be delivered starts now."""
    if decision.to is not CommandState.SENT:
        return decision
    return Decision(decision.to, {**decision.fields, "deliver_by_ms": late_by(spec, now_ms)})


def late_by(spec: CommandSpec, now_ms: int) -> int:
    """Until when a command that waited in a queue must start now."""
    return now_ms + spec.timeout_ms + spec.grace_ms


def time_left_ms(spec: CommandSpec, created_at_ms: int, now_ms: int) -> int:
    """The timeout that an agent is to enforce from process start; at least 1 ms."""
    if not spec.runs_from_creation:
        return spec.timeout_ms
    return max(1, created_at_ms + spec.timeout_ms - now_ms)


def move_of(command_id: str, attempt: int, decision: Decision, now_ms: int) -> Move:
    return Move(command_id, attempt, decision.to, now_ms, decision.fields, decision.look_in_ms)


def group_chunks(
    chunks: Iterable[tuple[DispatchChunk, dict[str, str]]],
) -> list[tuple[Envelope, list[DispatchItem]]]:
    """Chunks of single commands with the same spec become one: under load, singles travel like a batch."""
    groups: dict[tuple[str, bytes, int], list[tuple[DispatchChunk, dict[str, str]]]] = defaultdict(list)
    whole = []
    for chunk, headers in chunks:
        if chunk.batch_id is not None:
            whole.append((_envelope(chunk, headers), list(chunk.items)))
        else:
            # Where the timeout runs from creation, what is left of it differs from command to command: those of one
            # grain share the youngest's, so that no agent ends a command early.
            grain_ms = _CLOCK_GRAIN_MS if chunk.spec.runs_from_creation else _EXPIRY_GRAIN_MS
            time_slot = chunk.created_at_ms // grain_ms
            groups[chunk.tenant, codec.encode(chunk.spec), time_slot].append((chunk, headers))
    singles = [
        (
            _envelope(*max(members, key=lambda member: member[0].created_at_ms)),
            [item for chunk, _ in members for item in chunk.items],
        )
        for members in groups.values()
    ]
    return whole + singles


def orders_by_gateway(
    envelope: Envelope, handovers: Sequence[Handover], now_ms: int, handover_name: str
) -> dict[str, GatewayOrders]:
    """One message per gateway: the spec once, and a line per command."""
    timeout_ms = time_left_ms(envelope.spec, envelope.created_at_ms, now_ms)
    lines: dict[str, list[GatewayOrder]] = defaultdict(list)
    for handover in handovers:
        lines[handover.link.gateway_id].append(
            GatewayOrder(
                handover.command_id,
                handover.agent_id,
                handover.attempt,
                handover.link.epoch,
                timeout_ms,
                handover.guest,
            )
        )
    return {
        gateway_id: GatewayOrders(
            tenant=envelope.tenant,
            spec=envelope.spec,
            orders=tuple(orders),
            batch_id=envelope.batch_id,
            handover=handover_name,
            expires_ms=envelope.deliver_by_ms,
        )
        for gateway_id, orders in lines.items()
    }


def envelope_of_due(due: Due, spec: CommandSpec, deliver_by_ms: int) -> Envelope:
    return Envelope(due.tenant, due.user_id, spec, due.created_at_ms, due.batch_id, deliver_by_ms, {})


def _envelope(chunk: DispatchChunk, headers: dict[str, str]) -> Envelope:
    spec, created_at_ms = chunk.spec, chunk.created_at_ms
    deliver_by_ms = deliver_by(spec, created_at_ms)
    return Envelope(chunk.tenant, chunk.user_id, spec, created_at_ms, chunk.batch_id, deliver_by_ms, headers)
