"""Who may write an order to an agent that keeps no journal: the one gateway that claimed the attempt in the feed.

An agent of ours answers an order that comes twice from its journal. A foreign one would run it twice. So before an
order is written, an empty place in the stream is taken for it, which only one can do; whoever comes second never
writes.
Called by the foreign link, for all orders that wait at once.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

import structlog

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.core.bus import Bus, BusError, Outgoing, WrongLastSequence

log = structlog.get_logger()

_RETRY_S: Final = 0.5


class Claim(Enum):
    OURS = auto()
    TAKEN = auto()
    """Another link has written it, or was about to."""


class Claims:
    """Of one link. `claimant`: names it among all links there ever were."""

    def __init__(self, bus: Bus, tenant: str, claimant: str) -> None:
        self._bus = bus
        self._tenant = tenant
        self._claimant = claimant.encode()

    async def take(self, orders: Sequence[GatewayOrder]) -> list[Claim]:
        """One claim per order, in their order, in one burst. Waits for the bus if need be."""
        acks = [self._bus.publish_soon(self._message(order)) for order in orders]
        outcomes = await asyncio.gather(*acks, return_exceptions=True)
        return [await self._settled(order, outcome) for order, outcome in zip(orders, outcomes, strict=True)]

    def _message(self, order: GatewayOrder) -> Outgoing:
        return Outgoing(self._subject(order), self._claimant, expected_last_subject_sequence=0)

    def _subject(self, order: GatewayOrder) -> str:
        return subjects.claim(self._tenant, order.command_id, order.attempt)

    async def _settled(self, order: GatewayOrder, outcome: object) -> Claim:
        """What an answer means. Without one, or with a refusal, what is stored decides: our own first try may be it."""
        while isinstance(outcome, BaseException):
            if not isinstance(outcome, (WrongLastSequence, Unavailable, BusError)):
                raise outcome
            try:
                stored = await self._bus.last_message(streams.FEED, self._subject(order))
                if stored is not None:
                    return Claim.OURS if stored.body == self._claimant else Claim.TAKEN
                outcome = await self._bus.publish(self._message(order))
            except (Unavailable, BusError) as error:
                log.warning("gateway.claim_delayed", command_id=order.command_id, error=error.message)
                await asyncio.sleep(_RETRY_S)
                outcome = error
        return Claim.OURS
