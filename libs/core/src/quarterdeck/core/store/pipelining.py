"""Redis round trips, shared: whatever was asked for while one pipeline was under way goes out together in the next.

Nothing is added when the queue is empty, and under load a hundred callers cost a handful of round trips. Two lanes, so
that a slow pipeline (a page of a large batch) does not hold up the next one.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from quarterdeck.contracts.errors import Unavailable

_LANES: Final = 2
_MOST_PER_PIPELINE: Final = 512
_TIMEOUT_S: Final = 5.0
"""For one round trip. A connection whose answers were not awaited is closed by redis-py, never used again."""

Command = tuple[Any, ...]


class Pipelines:
    """`client`: owned by the caller. Tasks start with the first call and end with `close`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._queue: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._queued = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Answers in the order of `commands`; an error of one command is its answer. Raises Unavailable."""
        if not self._lanes:
            self._lanes = [
                asyncio.create_task(self._run(), name=f"redis-lane-{lane}") for lane in range(_LANES)
            ]
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        self._queue.extend(zip(commands, futures, strict=True))
        self._queued.set()
        return [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)

    async def close(self) -> None:
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        for _, future in self._queue:
            if not future.done():
                future.set_exception(Unavailable("redis: the store was closed"))

    async def _run(self) -> None:
        while True:
            await self._queued.wait()
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_PER_PIPELINE))]
            if not self._queue:
                self._queued.clear()
            if taken:
                await self._exchange(taken)

    async def _exchange(self, taken: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in taken:
            pipeline.execute_command(*command)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
        except TimeoutError:
            answers = [Unavailable(f"redis: no answer within {_TIMEOUT_S:g} s")] * len(taken)
        except (RedisError, OSError) as error:
            answers = [Unavailable(f"redis: {error}")] * len(taken)
        except asyncio.CancelledError:
            self._settle(taken, [Unavailable("redis: the store was closed")] * len(taken))
            raise
        self._settle(taken, answers)

    @staticmethod
    def _settle(taken: list[tuple[Command, asyncio.Future[Any]]], answers: list[Any]) -> None:
        for (_, future), answer in zip(taken, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Unavailable):
                future.set_exception(answer)
            else:
                future.set_result(answer)
