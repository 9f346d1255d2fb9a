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
    """It was written before, or was about to be."""


class Claims:
    """Of one link. `claimant`: names it among all links there ever were.

    Each act of taking has a name of its own: an order that the link wrote, saw the end of and forgot may be handed over
    once more, and is then as taken as by anybody else.
    """

    def __init__(self, bus: Bus, tenant: str, claimant: str) -> None:
        self._bus = bus
        self._tenant = tenant
        self._claimant = claimant
        self._acts = 0

    async def take(self, orders: Sequence[GatewayOrder]) -> list[Claim]:
        """One claim per order, in their order, in one burst. Waits for the bus if need be."""
        self._acts += 1
        act = f"{self._claimant} {self._acts}".encode()
        claims = [Outgoing(self._subject(order), act, expected_last_subject_sequence=0) for order in orders]
        acks = [self._bus.publish_soon(claim) for claim in claims]
        outcomes = await asyncio.gather(*acks, return_exceptions=True)
        return [await self._settled(claim, outcome) for claim, outcome in zip(claims, outcomes, strict=True)]

    def _subject(self, order: GatewayOrder) -> str:
        return subjects.claim(self._tenant, order.command_id, order.attempt)

    async def _settled(self, claim: Outgoing, outcome: object) -> Claim:
        """What an answer means. Without one, or with a refusal, what is stored decides: our own first try may be it."""
        while isinstance(outcome, BaseException):
            if not isinstance(outcome, (WrongLastSequence, Unavailable, BusError)):
                raise outcome
            try:
                stored = await self._bus.last_message(streams.FEED, claim.subject)
                if stored is not None:
                    return Claim.OURS if stored.body == claim.body else Claim.TAKEN
                outcome = await self._bus.publish(claim)
            except (Unavailable, BusError) as error:
                log.warning("gateway.claim_delayed", subject=claim.subject, error=error.message)
                await asyncio.sleep(_RETRY_S)
                outcome = error
        return Claim.OURS
