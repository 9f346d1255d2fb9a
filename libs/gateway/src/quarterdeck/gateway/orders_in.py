"""Orders and control messages from dispatchers: decoded, handed to links, answered without waiting for any link.

Serves `qd.gateway.<id>.order` and `.control`. An order is answered `gone` when its epoch is not the link's, so what was
meant for an earlier link never reaches a later one. Decides nothing about commands. Called by the gateway.
"""

from typing import Final

import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.orders import (
    ControlMessage,
    GatewayCloseLinks,
    GatewayOrders,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
)
from quarterdeck.core import failpoints, telemetry
from quarterdeck.core.bus import Bus, Responder
from quarterdeck.gateway.link import LinkTable
from quarterdeck.gateway.messages import OrderSheet, spec_bytes

log = structlog.get_logger()

_orders: Final[codec.Decoder[GatewayOrders]] = codec.Decoder(GatewayOrders)
_control: Final[codec.Decoder[ControlMessage]] = codec.Decoder(ControlMessage)


class OrdersIn:
    def __init__(self, bus: Bus, gateway_id: str, links: LinkTable) -> None:
        self._bus = bus
        self._gateway_id = gateway_id
        self._links = links
        self._responders: list[Responder] = []
        self._draining = False

    async def start(self) -> None:
        """Serve until `stop`."""
        self._responders = [
            await self._bus.serve(subjects.order(self._gateway_id), self.order),
            await self._bus.serve(subjects.control(self._gateway_id), self.control),
        ]

    def drain(self) -> None:
        """New orders are answered `gone`: their agents are about to be elsewhere. Terminates still go through."""
        self._draining = True

    async def stop(self) -> None:
        for responder in self._responders:
            await responder.close()

    async def order(self, body: bytes, headers: dict[str, str]) -> bytes:
        """GatewayOrders in, OrderAnswers out. Raises DecodeError, which the bus answers by its code."""
        request = _orders.decode(body)
        with telemetry.span("gateway.order", headers, orders=len(request.orders)):
            sheet = OrderSheet(
                tenant=request.tenant,
                spec=spec_bytes(request.spec),
                priority=request.spec.priority,
                batch_id=request.batch_id,
                handover=request.handover,
                expires_ms=request.expires_ms,
                traceparent=telemetry.traceparent(),
            )
            answers: list[OrderAnswer] = []
            for order in request.orders:
                link = None if self._draining else self._links.find(request.tenant, order.agent_id)
                answers.append(OrderAnswer.GONE if link is None else link.offer(sheet, order))
        failpoints.reach("gateway.after_order")
        return codec.encode(OrderAnswers(tuple(answers)))

    async def control(self, body: bytes, headers: dict[str, str]) -> bytes:
        """A ControlMessage in, OrderAnswers out: one answer per item. Raises DecodeError."""
        request = _control.decode(body)
        if isinstance(request, GatewayTerminate):
            return codec.encode(OrderAnswers(self._terminate(request)))
        return codec.encode(OrderAnswers(self._close_links(request)))

    def _terminate(self, request: GatewayTerminate) -> tuple[OrderAnswer, ...]:
        answers: list[OrderAnswer] = []
        for item in request.items:
            link = self._links.find(request.tenant, item.agent_id)
            answers.append(OrderAnswer.GONE if link is None else link.terminate(item))
        return tuple(answers)

    def _close_links(self, request: GatewayCloseLinks) -> tuple[OrderAnswer, ...]:
        reasons = {end.value: end for end in LinkEnd}
        answers: list[OrderAnswer] = []
        for agent_id in request.agent_ids:
            link = self._links.find(request.tenant, agent_id)
            if link is not None:
                link.end(reasons.get(request.reason, LinkEnd.CLOSED))
            answers.append(OrderAnswer.GONE if link is None else OrderAnswer.QUEUED)
        log.info(
            "gateway.links_closed_by_order", tenant=request.tenant, links=len(answers), reason=request.reason
        )
        return tuple(answers)
