"""NATS or Redis away: 503 with Retry-After and nothing lost; recovery without help."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from quarterdeck.api.service import ApiService
from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.orders import DispatchChunk
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.rebuild import StateKeeper
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.embedded.redis_server import RedisServer
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import TOKEN, Deck, brokers, context_of, running_api

ASK: dict[str, Any] = {"client_id": "a1", "command_type": "x", "timeout": 600}
KEY = {"Idempotency-Key": "once"}


@pytest.fixture
async def own(nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Deck]:
    """On servers of its own, which may be stopped."""
    async with brokers(nats_server.url, redis_server.url) as deck:
        settings = ApiSettings(port=0, port_file=tmp_path / "api.port")
        keeper = asyncio.create_task(StateKeeper(deck.bus, deck.store, SystemClock()).run())
        try:
            async with running_api(deck, settings) as deck.http:
                yield deck
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])


async def test_without_nats_a_command_is_503_with_its_id_and_is_sent_when_nats_is_back(
    own: Deck, nats_server: NatsServer
) -> None:
    """S0-35, S3-6"""
    await own.agent("a1")
    assert (await own.http.post("/api/command", json=ASK)).status_code == 202
    await nats_server.kill()
    answer = await own.http.post("/api/command", json=ASK, headers=KEY)
    assert answer.status_code == 503
    body = answer.json()
    assert (body["code"], body["success"]) == ("not_confirmed", False)
    assert int(answer.headers["retry-after"]) > 0
    await nats_server.start()

    async def accepted() -> bool:
        await own.lease()
        again = await own.http.post("/api/command", json=ASK, headers=KEY)
        return again.status_code == 202 and bool(again.json()["command_id"] == body["command_id"])

    await eventually(accepted, within_s=40)
    chunks = [chunk for chunk in await own.queued() if isinstance(chunk, DispatchChunk)]
    assert [item.command_id for chunk in chunks for item in chunk.items].count(body["command_id"]) == 1


async def test_a_replica_that_is_starting_says_so_and_refuses_no_token(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """S0-35: with NATS away nothing is in memory, neither tokens nor agents."""
    port_file = tmp_path / "api.port"
    async with brokers(nats_server.url, redis_server.url) as deck:
        await deck.agent("a1")
        ctx = context_of(deck.bus, deck.store, "api")
        await nats_server.kill()
        service = asyncio.create_task(ApiService(ApiSettings(port=0, port_file=port_file)).run(ctx))
        try:
            await eventually(lambda: port_file.exists() and bool(port_file.read_text().strip()))
            deck.http.base_url = httpx.URL(f"http://127.0.0.1:{port_file.read_text().strip()}")
            deck.http.headers["Authorization"] = f"Bearer {TOKEN}"
            early = await deck.http.post("/api/command", json=ASK)
            assert (early.status_code, early.json()["code"]) == (503, "unavailable")
            assert "retry-after" in early.headers
            assert (await deck.http.get("/health/live")).status_code == 200
            await nats_server.start()
            await eventually(lambda: ctx.health.snapshot().ready, within_s=40)
            assert (await deck.http.post("/api/command", json=ASK)).status_code == 202
        finally:
            ctx.stopping.set()
            await service
            await ctx.tasks.close()
            await ctx.registry.close()


async def test_without_redis_everything_is_503_until_it_is_back(own: Deck, redis_server: RedisServer) -> None:
    """S0-35, S4-36"""
    await own.agent("a1")
    made = await own.http.post("/api/command", json=ASK)
    await redis_server.kill()
    for method, path, body in (
        ("POST", "/api/command", ASK),
        ("GET", f"/api/command/{made.json()['command_id']}", None),
        ("GET", "/api/commands", None),
        ("GET", "/api/batch_commands", None),
    ):
        answer = await own.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
    await redis_server.start()

    async def works() -> bool:
        return (await own.http.get("/api/commands")).status_code == 200

    await eventually(works, within_s=40)
    shown = await own.http.get(f"/api/command/{made.json()['command_id']}")
    assert shown.json()["command"]["status"] == "pending"
