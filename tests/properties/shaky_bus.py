"""A real bus that goes wrong when it is told to, in the ways in which publishing goes wrong.

Stands where the relay expects its bus. What it passes on is stored by a real nats-server, and what that server
acknowledged is remembered, heard or not.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus import Ack, Bus, Outgoing


class Fault(StrEnum):
    NONE = "none"
    TWICE = "twice"
    """The publisher sent everything again, because an acknowledgement was late."""
    NOTHING_ARRIVES = "nothing arrives"
    HALF_ARRIVES = "half arrives"
    NO_ACK_ARRIVES = "no ack arrives"
    """All of it is stored, and nobody hears of it."""


LOUD: Final = frozenset({Fault.NOTHING_ARRIVES, Fault.HALF_ARRIVES, Fault.NO_ACK_ARRIVES})
"""Faults that the caller of `publish_many` notices."""


class ShakyBus:
    def __init__(self, bus: Bus) -> None:
        self.fault = Fault.NONE
        """What happens to publishes to come."""
        self.stored: set[str] = set()
        """Message ids that JetStream has."""
        self._bus = bus

    async def publish_many(self, messages: Sequence[Outgoing]) -> list[Ack]:
        """As Bus.publish_many."""
        arriving = {Fault.NOTHING_ARRIVES: 0, Fault.HALF_ARRIVES: len(messages) // 2}
        through = messages[: arriving.get(self.fault, len(messages))]
        acks = await self._store(through)
        if self.fault is Fault.TWICE:
            acks = await self._store(through)
        if self.fault in LOUD:
            raise Unavailable(f"as told: {self.fault}")
        return acks

    async def _store(self, messages: Sequence[Outgoing]) -> list[Ack]:
        acks = await self._bus.publish_many(messages)
        self.stored.update(message.msg_id for message in messages if message.msg_id is not None)
        return acks
