"""Answers that are given again: a query that succeeded a moment ago need not be asked once more (S0-33).

Owns when an earlier answer still counts. What may be answered so at all is the policy's. Called by intake.py.
"""

import msgspec

from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import Clock
from quarterdeck.core.store import Move, NewCommand, Store
from quarterdeck.core.store.answers import Answers, query_of


class Recall:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._answers = Answers(store)
        self._clock = clock

    async def answered(self, new: NewCommand, ttl_s: int) -> NewCommand | None:
        """`new` as a command that has its answer already; None: it has to be asked. Raises Unavailable."""
        command_id = await self._answers.last(query_of(new))
        earlier = None if command_id is None else await self._store.command(new.tenant, command_id)
        if earlier is None or earlier.state is not CommandState.SUCCEEDED:
            return None
        now_ms = self._clock.now_ms()
        if now_ms - (earlier.completed_at_ms or 0) > ttl_s * 1000:
            return None
        known = {"result": earlier.result, "exit_code": earlier.exit_code}
        fields = {
            "cached_from": earlier.command_id,
            "completed_at_ms": now_ms,
            **{name: value for name, value in known.items() if value is not None},
        }
        end = Move(new.command_id, 1, CommandState.SUCCEEDED, now_ms, fields)
        return msgspec.structs.replace(new, end=end, messages=())

    async def asked(self, new: NewCommand, ttl_s: int) -> None:
        """Whoever asks the same next will look at this one. Raises Unavailable."""
        patience_s = new.spec.timeout_ms // 1000 + ttl_s
        await self._answers.remember(query_of(new), new.command_id, patience_s)
