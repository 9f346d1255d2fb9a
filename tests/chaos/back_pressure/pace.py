"""The pace of everybody else: a steady trickle of small commands, each timed from its POST to its end.

Owns the load and its arithmetic. Open loop: a command is sent when its moment has come, whether those before it have
ended or not, so that a stall is felt by every command that falls into it. Called by the scenes and the end-to-end test.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tests.benchmarks.client.http import Endpoint, HttpPool, UnexpectedStatus
from tests.benchmarks.measurement import Spread

PER_S: Final = 20.0
_MAX_CONNECTIONS: Final = 500
"""Every command that has not ended holds one: it waits there for its end."""
_ENDED_WITHIN_S: Final = 90.0
_UNFINISHED: Final = frozenset({"pending", "executing"})


class Pace(NamedTuple):
    """What a trickle came to. `lost`: commands that were answered 202 and did not succeed, with how they ended."""

    ms: Spread
    commands: int
    lost: list[str]


class Trickle:
    """Commands `echo hello` to `agents` in turn."""

    def __init__(self, endpoint: Endpoint, agents: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._agents = agents
        self._lost: list[str] = []

    async def run(self, seconds: float, *, per_s: float = PER_S) -> Pace:
        """Sends for `seconds`, then waits for all ends."""
        total = round(seconds * per_s)
        pool = await HttpPool.open(self._endpoint, min(total, _MAX_CONNECTIONS))
        self._lost = []
        running: list[asyncio.Task[float]] = []
        began_s = time.perf_counter()
        try:
            for number in range(total):
                await asyncio.sleep(max(0.0, began_s + number / per_s - time.perf_counter()))
                agent_id = self._agents[number % len(self._agents)]
                running.append(asyncio.create_task(self._one(pool, agent_id), name="trickle"))
            took_ms = await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            pool.close()
        return Pace(Spread.of(took_ms), len(took_ms), self._lost)

    async def _one(self, pool: HttpPool, agent_id: str) -> float:
        began_s = time.perf_counter()
        payload = {"argv": ["/bin/echo", "hello"]}
        command_id = await submit(pool, agent_id, "exec", payload)
        ended = await end_of(pool, command_id)
        if ended["status"] != "completed":
            self._lost.append(f"{command_id}: {ended['status']} {ended.get('error', '')}")
        return (time.perf_counter() - began_s) * 1000


async def submit(pool: HttpPool, agent_id: str, command_type: str, payload: Any, **options: Any) -> str:
    """The id of the command. Raises UnexpectedStatus."""
    body = {
        "client_id": agent_id,
        "command_type": command_type,
        "payload": payload,
        "timeout": 600,
        **options,
    }
    answered = await pool.post("/api/command", body)
    return str(answered["command_id"])


async def end_of(pool: HttpPool, command_id: str, within_s: float = _ENDED_WITHIN_S) -> dict[str, Any]:
    """The command, once it has ended. Raises TimeoutError, UnexpectedStatus."""
    head = pool.endpoint.head("GET", f"/api/command/{command_id}?wait=20")
    async with asyncio.timeout(within_s):
        while True:
            response = await pool.send(head)
            if response.status != 200:
                raise UnexpectedStatus(command_id, response)
            command: dict[str, Any] = msgspec.json.decode(response.body)["command"]
            if command["status"] not in _UNFINISHED:
                return command
