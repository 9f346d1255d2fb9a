"""Join tokens as the gateway spends them: looked up by hash, and counted down so that none is used too often.

Agents that come together with one token are paid for in one write: a fleet of thousands may start at once. Between
gateways the registry's revision decides. Called by `enrolment`.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from quarterdeck.contracts.agents import JoinToken
from quarterdeck.contracts.errors import LinkRefused, Unavailable
from quarterdeck.core.bus import BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Conflict, Entry, Registry
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.wire.codes import GoodbyeReason


class JoinTokens:
    def __init__(self, registry: Registry, clock: Clock, tasks: TaskSet) -> None:
        self._tokens = registry.tokens
        self._clock = clock
        self._tasks = tasks
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def find(self, token_key: str) -> Entry[JoinToken]:
        """The token, good or not. Raises LinkRefused(join_token_invalid) when there is none; Unavailable."""
        entry = await self._tokens.get(token_key)
        if entry is None or not isinstance(entry.value, JoinToken):
            raise _refused("no such join token")
        return Entry(entry.value, entry.revision, entry.at_ms)

    async def spend(self, token_key: str) -> None:
        """Use it once. Raises LinkRefused(join_token_invalid): expired, used up, or gone. Raises Unavailable."""
        paid: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(token_key)
        if waiting is None:
            self._waiting[token_key] = [paid]
            self._tasks.spawn(self._pay(token_key), "join_tokens")
        else:
            waiting.append(paid)
        await paid

    async def _pay(self, token_key: str) -> None:
        while waiting := self._waiting[token_key]:
            self._waiting[token_key] = []
            try:
                granted, refusal = await self._take(token_key, len(waiting)), "the join token is used up"
            except LinkRefused as error:
                granted, refusal = 0, error.message
            except (Unavailable, BusError) as error:
                _settle(waiting, [Unavailable(error.message) for _ in waiting])
                continue
            _settle(waiting[:granted], [None] * granted)
            _settle(waiting[granted:], [_refused(refusal) for _ in waiting[granted:]])
        del self._waiting[token_key]

    async def _take(self, token_key: str, count: int) -> int:
        """How many of `count` uses there were; they are gone now."""
        while True:
            entry = await self.find(token_key)
            token = entry.value
            if token.expires_at_ms <= self._clock.now_ms():
                raise _refused("the join token has expired")
            granted = min(count, token.uses_left)
            if granted <= 0:
                return 0
            spent = msgspec.structs.replace(token, uses_left=token.uses_left - granted)
            try:
                await self._tokens.update(token_key, spent, entry.revision)
            except Conflict:
                continue  # another gateway spent uses: look again how many are left
            return granted


def _settle(waiting: list["asyncio.Future[None]"], outcomes: Sequence[Exception | None]) -> None:
    for paid, outcome in zip(waiting, outcomes, strict=True):
        if paid.done():
            continue  # the agent gave up; its use is lost, which is the safe side
        if outcome is None:
            paid.set_result(None)
        else:
            paid.set_exception(outcome)


def _refused(why: str) -> LinkRefused:
    return LinkRefused(GoodbyeReason.JOIN_TOKEN_INVALID, why)
