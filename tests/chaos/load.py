"""What clients order during a run: a seeded mix of everything, spread evenly over the time.

Owns the mix. Each order is posted until it is answered; some are posted again, some cancelled at a random moment.
"""

import asyncio
import random
from typing import Any, Final

from quarterdeck.testing.oracle import Kind, Oracle
from tests.chaos.client import Client, Order

_MIX: Final = {
    Kind.QUICK: 50,
    Kind.SLEEPER: 16,
    Kind.TALKER: 8,
    Kind.BULK: 8,
    Kind.BINARY: 4,
    Kind.FAILING: 6,
    Kind.FLAKY: 4,
    Kind.ENDLESS: 4,
}
_CANCELLED: Final = {Kind.SLEEPER: 0.4, Kind.TALKER: 0.2, Kind.ENDLESS: 0.6, Kind.QUICK: 0.05}
"""The share that is cancelled, by kind."""
_TIMEOUT_S: Final = 30
_SHORT_TIMEOUT_S: Final = 3
_POSTED_AGAIN: Final = 0.1
_QUEUED: Final = 0.7
"""The share that may wait for an agent that is away."""


class Load:
    """`commands`: how many to order in all, over `duration_s`."""

    def __init__(self, client: Client, oracle: Oracle, agents: list[str], seed: int, commands: int) -> None:
        self._client = client
        self._oracle = oracle
        self._agents = agents
        self._dice = random.Random(f"{seed}-load")
        self._seed = seed
        self.orders = self._drawn(commands)

    async def run(self, duration_s: float) -> None:
        """Returns when every order was answered."""
        between_s = duration_s / max(len(self.orders), 1)
        async with asyncio.TaskGroup() as under_way:
            for order in self.orders:
                under_way.create_task(self._place(order))
                await asyncio.sleep(between_s)

    def _drawn(self, commands: int) -> list[Order]:
        orders: list[Order] = []
        left = commands
        while left > 0:
            order = self._draw(len(orders), min(left, len(self._agents)))
            orders.append(order)
            left -= len(order.targets)
        return orders

    def _draw(self, number: int, most: int) -> Order:
        dice = self._dice
        kind = dice.choices(list(_MIX), weights=list(_MIX.values()))[0]
        max_attempts = dice.randint(2, 3) if kind is Kind.FLAKY else 1
        script = self._oracle.script(kind, dice.randrange(2**31), last_attempt=max_attempts)
        big = kind in {Kind.BULK, Kind.BINARY}
        width = min(most, dice.choice((1, 1, 2, 3) if big else (1, 1, 2, 4, 8)))
        targets = dice.sample(self._agents, width)
        more: dict[str, Any] = {"timeout": _TIMEOUT_S if script.ends else _SHORT_TIMEOUT_S}
        if dice.random() < _QUEUED:
            more["queue_for"] = _TIMEOUT_S
        if max_attempts > 1:
            more["retry"] = {"max_attempts": max_attempts, "backoff_ms": 200}
        if dice.random() < 0.3:
            more["priority"] = dice.randint(1, 10)
        key = f"{self._seed}-{number}"
        if width == 1 and dice.random() < 0.7:
            body = {"client_id": targets[0], "command_type": "shell", "payload": {"command": script.shell}}
            path = "/api/command"
        else:
            body = {"target_vps_ids": targets, "command_content": script.shell}
            path = "/api/batch_commands"
        return Order(
            key=key,
            path=path,
            body={**body, **more},
            script=script,
            targets=targets,
            max_attempts=max_attempts,
        )

    async def _place(self, order: Order) -> None:
        dice = random.Random(order.key)
        await self._client.post(order)
        if dice.random() < _CANCELLED.get(order.script.kind, 0):
            await asyncio.sleep(dice.choice((0, dice.uniform(0, 0.2), dice.uniform(0, 3))))
            await self._client.cancel(order)
        if dice.random() < _POSTED_AGAIN:
            await asyncio.sleep(dice.uniform(0, 2))
            await self._client.post(order)
