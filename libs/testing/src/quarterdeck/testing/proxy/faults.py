"""What may go wrong in one direction of a proxied link, and the dice that decide when.

Owns the numbers and the draws; the proxies act on them. A proxy's `up` (from the client) and `down` (to it) may be
replaced while it runs: the next piece obeys.
"""

import random
from typing import Final

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """One direction. Probabilities are 0–1, each per datagram; on TCP per piece that was read."""

    delay_ms: float = 0
    jitter_ms: float = 0
    """Added to the delay, 0 to this much."""
    loss: float = 0
    """On TCP, where the kernel would send again: a stall of `stall_ms` for all that follows."""
    stall_ms: float = 200
    """About the first retransmission timeout. Source: RFC 6298 §5.7, Linux's TCP_RTO_MIN."""
    duplicate: float = 0
    """UDP alone: TCP would throw the copy away."""
    reorder: float = 0
    """UDP alone: held back by `reorder_ms`, so that others overtake it."""
    reorder_ms: float = 5
    black_hole: bool = False
    """Nothing comes through and nobody is told. On TCP it comes through later, as a retransmission would."""


CALM: Final = Faults()
"""A network as it should be."""


class Dice:
    """Draws of one direction. Same seed, same piece numbers: same faults."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def stream_delay_s(self, faults: Faults) -> float:
        """How long a piece of a byte stream is on its way."""
        stall_ms = faults.stall_ms if self._strikes(faults.loss) else 0.0
        return (faults.delay_ms + self._jitter_ms(faults) + stall_ms) / 1000

    def datagram_delays_s(self, faults: Faults) -> tuple[float, ...]:
        """One entry per copy that arrives: none when it is lost, two when it is duplicated."""
        if self._strikes(faults.loss):
            return ()
        copies = 2 if self._strikes(faults.duplicate) else 1
        return tuple(self._datagram_delay_s(faults) for _ in range(copies))

    def _datagram_delay_s(self, faults: Faults) -> float:
        held_back_ms = faults.reorder_ms if self._strikes(faults.reorder) else 0.0
        return (faults.delay_ms + self._jitter_ms(faults) + held_back_ms) / 1000

    def _jitter_ms(self, faults: Faults) -> float:
        return self._random.uniform(0, faults.jitter_ms) if faults.jitter_ms else 0.0

    def _strikes(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
