"""Runs scripts on Redis, and turns its errors into ours.

Every new connection first asks whose state it leads to: see new_server.py.

redis-py would send a timed-out write again by itself; we turn that off, because only the caller knows whether a script
may run twice (all of ours may: a second run finds the first one's state and changes nothing).
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import msgpack
import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.store import keys
from quarterdeck.core.store.new_server import run_of, shut_if_moved
from quarterdeck.core.store.pipelining import Command, Pipelines
from quarterdeck.core.store.scripts import Lifetimes, load

_CONNECT_TIMEOUT_S: Final = 5.0
_AWAY: Final = (
    "NOSHARD",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "OOM",
    "NOLEASE",
)
"""Error replies that mean: not now."""


class ScriptRunner:
    """`url`: `redis://host:port/db` or `unix:///path`."""

    def __init__(self, url: str, lifetimes: Lifetimes) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=None,  # Pipelines times whole round trips: redis-py would time each answer
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            redis_connect_func=shut_if_moved,
        )
        self._pipelines = Pipelines(self._client)
        self._scripts = load(lifetimes)

    async def run(self, name: str, shard: int, request: Any) -> Any:
        """One script on one shard. Raises Unavailable."""
        return (await self.run_many(name, [(shard, request)]))[0]

    async def run_many(self, name: str, calls: Sequence[tuple[int, Any]]) -> list[Any]:
        """The same script on several shards in one round trip; answers in the order of `calls`, strings as bytes.

        Raises Unavailable.
        """
        return await self.run_words(name, [(shard, (_pack(request),)) for shard, request in calls])

    async def run_words(self, name: str, calls: Sequence[tuple[int, Sequence[Any]]]) -> list[Any]:
        """As run_many, with plain arguments in place of a request. Raises Unavailable."""
        script = self._scripts[name]
        commands: list[Command] = [
            ("EVALSHA", script.sha, 1, keys.prefix(shard), *words) for shard, words in calls
        ]
        answers = await self._pipelines.ask(commands)
        missing = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            await self._pipelines.ask([("SCRIPT LOAD", script.text)])
            again = await self._pipelines.ask([commands[index] for index in missing])
            for index, answer in zip(missing, again, strict=True):
                answers[index] = answer
        return _checked(answers)

    async def plain(self, commands: Sequence[Command]) -> list[Any]:
        """Commands without a script, in one round trip. Raises Unavailable."""
        return _checked(await self._pipelines.ask(commands))

    async def run_id(self) -> str:
        """Whose state this is: names one life of one server in one role. Raises Unavailable."""
        server, replication = await self.plain([("INFO", "server"), ("INFO", "replication")])
        return run_of(server, replication)

    async def now_ms(self) -> int:
        """Redis' clock, which deadlines go by. Raises Unavailable."""
        seconds, microseconds = (await self.plain([("TIME",)]))[0]
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def close(self) -> None:
        await self._pipelines.close()
        await self._client.aclose()


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, ResponseError) and not str(answer).startswith(_AWAY):
            raise answer
        if isinstance(answer, Exception):
            raise Unavailable(f"redis: {answer}")
    return answers


def _pack(request: Any) -> bytes:
    """MessagePack as Redis' own `cmsgpack` reads it: it knows no `bin` type, so bytes travel as raw strings."""
    plain = msgspec.to_builtins(request, builtin_types=(bytes,))
    return cast(bytes, msgpack.packb(plain, use_bin_type=False))
