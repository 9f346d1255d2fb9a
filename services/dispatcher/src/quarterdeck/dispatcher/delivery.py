"""Hands orders over to gateways, and notes what a gateway proves not to have delivered.

The caller has written `sent` before: if this process dies here, the command is looked at again and handed over again.
"""

import asyncio
from collections.abc import Sequence

import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.errors import DecodeError, Unavailable
from quarterdeck.contracts.limits import SETTLE_MS
from quarterdeck.contracts.orders import GatewayOrders, OrderAnswer, OrderAnswers
from quarterdeck.core import failpoints, metrics, telemetry
from quarterdeck.core.bus import Bus, BusError, NoResponder
from quarterdeck.core.clock import Clock
from quarterdeck.core.store import HandOver, Store
from quarterdeck.dispatcher.handlers import RETRY_MS, Envelope, Handover, orders_by_gateway

log = structlog.get_logger()

_answers = codec.Decoder[OrderAnswers](OrderAnswers)


class Delivery:
    def __init__(self, bus: Bus, store: Store, clock: Clock) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock

    async def hand_over(self, envelope: Envelope, handovers: Sequence[Handover], name: str) -> None:
        """`name`: the one that the store has for this act, from `new_handover`.

        One request per gateway, all at once. Never raises for a gateway's sake; raises Unavailable for Redis'.
        """
        if not handovers:
            return
        with telemetry.span(telemetry.COMMAND_DISPATCH, envelope.headers, commands=len(handovers)):
            requests = orders_by_gateway(envelope, handovers, self._clock.now_ms(), name)
            answers = await asyncio.gather(
                *(self._ask(gateway_id, orders) for gateway_id, orders in requests.items())
            )
        failpoints.reach("dispatcher.after_hand_over")
        metrics.COMMAND_SENT.labels(envelope.spec.command_type).inc(len(handovers))
        returned = [
            HandOver(
                order.command_id,
                order.attempt,
                returned=True,
                handover=name,
                look_in_ms=SETTLE_MS if answer is OrderAnswer.WAITING else RETRY_MS,
            )
            for orders, taken in zip(requests.values(), answers, strict=True)
            for order, answer in zip(orders.orders, taken, strict=False)
            if answer is not OrderAnswer.QUEUED
        ]
        if returned:
            await self._store.hand_over(returned)
        if envelope.batch_id is None:
            for handover in handovers:
                log.info(
                    "dispatcher.command_sent",
                    command_id=handover.command_id,
                    client_id=handover.agent_id,
                    command_type=envelope.spec.command_type,
                    attempt=handover.attempt,
                )
        else:
            log.info("dispatcher.chunk_sent", batch_id=envelope.batch_id, commands=len(handovers))

    async def _ask(self, gateway_id: str, orders: GatewayOrders) -> Sequence[OrderAnswer]:
        """The gateway's answers; none where it did not answer, because then nothing is proved."""
        try:
            raw = await self._bus.request(subjects.order(gateway_id), codec.encode(orders))
            return _answers.decode(raw).answers
        except NoResponder:
            return [OrderAnswer.GONE] * len(orders.orders)
        except (BusError, Unavailable, DecodeError) as error:
            log.warning(
                "dispatcher.gateway_silent",
                gateway_id=gateway_id,
                code=error.code,
                commands=len(orders.orders),
            )
            return []
