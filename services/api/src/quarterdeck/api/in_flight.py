"""How many commands may be unfinished at once, over all replicas, and the refusal of more (S0-17).

The shards know how many there are; this counts what it let in since it last asked them. So the limit costs a request
nothing, and several replicas together may let in a little more than it says: at most what the others take between two
looks. Called by intake.py, before anything is written.
"""

import asyncio
from typing import Final

from quarterdeck.contracts.errors import TooManyInFlight, Unavailable
from quarterdeck.core.clock import Clock
from quarterdeck.core.store import Store

_LOOK_EVERY_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.1
"""Before anybody is refused, the shards are asked again, unless they were so recently."""


class InFlight:
    """`limit`: 0 for none."""

    def __init__(self, store: Store, clock: Clock, *, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._counted = 0
        self._counted_at_s = float("-inf")
        self._let_in = 0
        """Since the shards were last asked."""
        self._looking: asyncio.Task[None] | None = None

    async def admit(self, commands: int) -> None:
        """Lets `commands` in, or none of them. Raises TooManyInFlight, Unavailable."""
        if not self._limit:
            return
        age_s = self._clock.monotonic_s() - self._counted_at_s
        full = self._counted + self._let_in + commands > self._limit
        if age_s > _LOOK_EVERY_S or (full and age_s > _LOOK_AGAIN_S):
            looking = self._look()
            if full or age_s == float("inf"):
                await asyncio.shield(looking)
        if self._counted + self._let_in + commands > self._limit:
            raise TooManyInFlight(f"{self._limit} commands are in flight at most; wait until some have ended")
        self._let_in += commands

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._ask(), name="in-flight")
        return self._looking

    async def _ask(self) -> None:
        before = self._let_in
        try:
            counted = await self._store.in_flight()
        except Unavailable:
            return  # whoever wants in will hear of it from the store
        self._counted, self._counted_at_s = counted, self._clock.monotonic_s()
        self._let_in -= before
