"""How long to wait before the next attempt. Pure: randomness comes in, nobody sleeps here."""

import random
from typing import Final

import msgspec


class BackoffPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Full jitter under a ceiling that doubles. Source: AWS, "Exponential Backoff And Jitter"."""

    first_s: float
    cap_s: float
    floor_s: float = 0.0
    """At least this long, each time."""


RECONNECT: Final = BackoffPolicy(first_s=0.25, cap_s=15.0)
"""After a lost link. The first retries come well within the 10 s after which an agent counts as gone; the cap keeps ten
thousand agents from meeting at a gateway that just started."""
REPLACED: Final = BackoffPolicy(first_s=30.0, cap_s=60.0, floor_s=30.0)
"""After another process took over this identity: two of them must not chase each other."""
FRONT_RESTART: Final = BackoffPolicy(first_s=0.1, cap_s=2.0)
"""After a front that died young. No gateway is asked before it has loaded, which takes half a second anyway."""


class Backoff:
    """Counts the failures in a row."""

    def __init__(self, policy: BackoffPolicy = RECONNECT, rng: random.Random | None = None) -> None:
        self._policy = policy
        self._rng = rng or random.Random()
        self._failures = 0

    def next_s(self, policy: BackoffPolicy | None = None) -> float:
        """Seconds to wait after one more failure; `policy`: for this once."""
        chosen = policy or self._policy
        # 2**16 is far above any cap: keeps the power from growing for days.
        ceiling = min(chosen.cap_s, chosen.first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return chosen.floor_s + self._rng.uniform(0.0, ceiling)

    def reset(self) -> None:
        """A link stood: the next failure is the first again."""
        self._failures = 0
