"""One key, one command: for a hundred posts at once, over replicas, after the bus or Redis forgot (I6)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.ids import shard_of
from quarterdeck.contracts.orders import DispatchChunk
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.rebuild import Rebuilder, RebuildSettings
from quarterdeck.core.store import Move, keys
from tests.integration.api.deck import Deck, brokers, running_api

ASK: dict[str, Any] = {"client_id": "a1", "command_type": "x", "timeout": 600}
POSTS = 100


@pytest.fixture
async def replicas(
    shared_nats_url: str, shared_redis_url: str, tmp_path: Path
) -> AsyncIterator[tuple[Deck, list[httpx.AsyncClient]]]:
    """Two services, each with its own connections to the same brokers."""
    async with (
        brokers(shared_nats_url, shared_redis_url) as deck,
        brokers(shared_nats_url, shared_redis_url) as other,
        running_api(deck, ApiSettings(port=0, port_file=tmp_path / "one.port")) as one,
        running_api(other, ApiSettings(port=0, port_file=tmp_path / "two.port")) as two,
    ):
        await deck.agent("a1")
        yield deck, [one, two]


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


async def test_a_hundred_posts_at_once_over_two_replicas_make_one_command(
    replicas: tuple[Deck, list[httpx.AsyncClient]],
) -> None:
    """I6, S3-5"""
    deck, clients = replicas

    answers = await asyncio.gather(
        *(_post(clients[index % 2], "/api/command", ASK, "once") for index in range(POSTS))
    )

    assert {answer.status_code for answer in answers} == {202}
    ids = {answer.json()["command_id"] for answer in answers}
    assert len(ids) == 1
    orders = [
        item.command_id
        for chunk in await deck.queued()
        if isinstance(chunk, DispatchChunk)
        for item in chunk.items
    ]
    assert orders == [*ids]


async def test_another_body_is_refused_by_every_replica(
    replicas: tuple[Deck, list[httpx.AsyncClient]],
) -> None:
    """I6"""
    _, clients = replicas
    await _post(clients[0], "/api/command", ASK, "once")

    answers = [await _post(client, "/api/command", {**ASK, "timeout": 601}, "once") for client in clients]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (422, "idempotency_conflict")
    ] * 2


async def test_a_key_outlives_the_bus_memory_of_it_and_the_loss_of_redis(
    replicas: tuple[Deck, list[httpx.AsyncClient]], shared_redis_url: str
) -> None:
    """I6, I12: the bus remembers ids for two minutes; the key is held by the state, and the state by the log."""
    deck, clients = replicas
    first = await _post(clients[0], "/api/command", ASK, "once")
    await deck.bus.api.call("STREAM.PURGE.QD_COMMANDS")  # the message is gone, its id with it
    async with redis.Redis.from_url(shared_redis_url) as client:
        await client.flushall()
    lost = await _post(clients[1], "/api/command", ASK, "once")
    rebuilder = Rebuilder(deck.bus, deck.store, SystemClock(), RebuildSettings(settle_s=0.0))
    assert await rebuilder.rebuild() is not None

    again = [await _post(client, "/api/command", ASK, "once") for client in clients]
    other = await _post(clients[1], "/api/command", {**ASK, "timeout": 601}, "once")

    assert lost.status_code == 503
    assert [answer.status_code for answer in again] == [202, 202]
    assert {answer.json()["command_id"] for answer in again} == {first.json()["command_id"]}
    assert other.status_code == 422
    assert (await deck.bus.stream_info("QD_COMMANDS")).messages == 0


@pytest.mark.parametrize(
    ("path", "ask", "member"),
    [
        ("/api/command", ASK, "command_id"),
        ("/api/command/batch", {"client_ids": ["a1"], "command_type": "x"}, "batch_command_id"),
    ],
)
async def test_what_was_taken_in_is_answered_again_when_its_dependency_is_forgotten(
    replicas: tuple[Deck, list[httpx.AsyncClient]], path: str, ask: dict[str, Any], member: str
) -> None:
    """I6: a single command is forgotten long before the keys of those that depended on it."""
    deck, clients = replicas
    before = (await clients[0].post("/api/command", json=ASK)).json()["command_id"]
    body = {**ask, "depends_on": [before]}
    first = await _post(clients[0], path, body, "once")
    await deck.store.apply(
        [Move(before, 1, CommandState.SENT, 1), Move(before, 1, CommandState.SUCCEEDED, 1)]
    )
    await _forget(deck, before)

    again = [await _post(client, path, body, "once") for client in clients]
    other = await _post(clients[1], path, {**body, "timeout": 601}, "once")
    fresh = await _post(clients[1], path, body, "another")

    assert [answer.status_code for answer in (first, *again)] == [202, 202, 202]
    assert {answer.json()[member] for answer in again} == {first.json()[member]}
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert (fresh.status_code, fresh.json()["code"]) == (422, "unknown_dependency")


async def _forget(deck: Deck, command_id: str) -> None:
    """As its TTL does."""
    await deck.store.runner.plain([("DEL", keys.key(shard_of(command_id), "command", command_id))])
