"""What is refused because there is too much of it: commands in flight, requests of a principal or for an agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from quarterdeck.api.in_flight import InFlight
from quarterdeck.api.rate_limits import RateLimits
from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.errors import TooManyInFlight
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.settings import SettingsError
from quarterdeck.core.store import Store, StoreSettings
from tests.integration.api.deck import TENANT, Deck, brokers, running_api

ASK: dict[str, Any] = {"client_id": "a1", "command_type": "restart", "payload": {}, "timeout": 30}


@pytest.fixture
async def quay(shared_nats_url: str, shared_redis_url: str) -> AsyncIterator[Deck]:
    """Brokers and an agent, without an api."""
    async with brokers(shared_nats_url, shared_redis_url) as deck:
        await deck.agent("a1", "a2", "a3")
        yield deck


@asynccontextmanager
async def api(
    deck: Deck, tmp_path: Path, name: str = "api", **members: Any
) -> AsyncIterator[httpx.AsyncClient]:
    settings = ApiSettings(port=0, port_file=tmp_path / f"{name}.port", **members)
    async with running_api(deck, settings) as client:
        yield client


async def test_more_commands_than_may_be_in_flight_are_refused_and_leave_nothing(
    quay: Deck, tmp_path: Path
) -> None:
    """S0-17"""
    async with api(quay, tmp_path, max_in_flight=3) as http:
        taken = [await http.post("/api/command", json=ASK) for _ in range(3)]
        refused = await http.post("/api/command", json=ASK)

    assert [answer.status_code for answer in taken] == [202, 202, 202]
    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_in_flight"
    assert int(refused.headers["retry-after"]) >= 1
    assert (await quay.store.list_commands(TENANT)).total == 3


async def test_a_batch_counts_all_its_children_and_comes_in_whole_or_not_at_all(
    quay: Deck, tmp_path: Path
) -> None:
    """S0-17, S0-41"""
    ask = {"client_ids": ["a1", "a2", "a3"], "command_type": "restart"}
    async with api(quay, tmp_path, max_in_flight=4) as http:
        first = await http.post("/api/command/batch", json=ask)
        second = await http.post("/api/command/batch", json=ask)
        single = await http.post("/api/command", json=ASK)

    assert [first.status_code, second.status_code, single.status_code] == [202, 429, 202]
    assert (await quay.store.list_batches(TENANT)).total == 1


async def test_what_ended_makes_room(quay: Deck, tmp_path: Path) -> None:
    """S0-17: nobody is refused for commands that have ended."""
    async with api(quay, tmp_path, max_in_flight=1) as http:
        for _ in range(5):
            answer = await http.post("/api/command", json=ASK)
            while answer.status_code == 429:  # asked again a tenth of a second after the last look
                answer = await http.post("/api/command", json=ASK)
            await quay.move(answer.json()["command_id"], S.SENT)
            await quay.move(answer.json()["command_id"], S.SUCCEEDED)


async def test_children_are_in_flight_before_and_after_their_chunk_created_them(
    quay: Deck, tmp_path: Path
) -> None:
    """S0-17"""
    async with api(quay, tmp_path) as http:
        asked = await http.post(
            "/api/command/batch", json={"client_ids": ["a1", "a2", "a3"], "command_type": "x"}
        )
    unborn = await quay.store.in_flight()
    children = await quay.expand(asked.json()["batch_command_id"])
    born = await quay.store.in_flight()
    for child in children:
        await quay.move(child.command_id, S.FAILED)

    assert (unborn, born, await quay.store.in_flight()) == (3, 3, 0)


async def test_a_lost_count_comes_back_with_the_next_look(shared_redis_url: str) -> None:
    """S0-17: nothing is let in on a count of long ago, and nothing is kept out by one."""
    store, clock = Store(StoreSettings(url=shared_redis_url)), ManualClock()
    in_flight = InFlight(store, clock, limit=10)
    try:
        await in_flight.admit(10)
        with pytest.raises(TooManyInFlight):
            await in_flight.admit(1)
        clock.advance(200)
        await in_flight.admit(10)  # what was admitted was never stored
    finally:
        await in_flight.close()
        await store.close()


async def test_a_principal_that_writes_too_often_is_told_when_to_come_back(
    quay: Deck, tmp_path: Path
) -> None:
    """S0-30"""
    async with api(quay, tmp_path, write_rate="3/minute") as http:
        answers = [await http.post("/api/command", json=ASK) for _ in range(4)]
        reading = await http.get("/api/commands")

    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["success"] is False
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"writes";q=3;w=60'
    assert refused.headers["ratelimit"].startswith('"writes";r=0;t=')
    assert reading.status_code == 200


async def test_a_limit_is_shared_by_all_replicas_and_by_nobody_else(quay: Deck, tmp_path: Path) -> None:
    """S0-30: also when all of them are asked at once."""
    await quay.token("qd_other", principal="bob")
    async with (
        api(quay, tmp_path, "one", write_rate="10/minute") as one,
        api(quay, tmp_path, "two", write_rate="10/minute") as two,
    ):
        answers = await asyncio.gather(
            *(http.post("/api/command", json=ASK) for http in (one, two) for _ in range(10))
        )
        other = await one.post("/api/command", json=ASK, headers={"Authorization": "Bearer qd_other"})

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(429)) == (10, 10)
    assert other.status_code == 202


async def test_commands_for_one_agent_are_limited_whoever_sends_them(quay: Deck, tmp_path: Path) -> None:
    """S0-30"""
    async with api(quay, tmp_path, client_rate="2/minute") as http:
        answers = [await http.post("/api/command", json=ASK) for _ in range(3)]
        elsewhere = await http.post("/api/command", json={**ASK, "client_id": "a2"})

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert elsewhere.status_code == 202


def test_a_rate_that_nobody_can_read_is_a_bad_setting(shared_redis_url: str) -> None:
    with pytest.raises(SettingsError, match="QD_API_WRITE_RATE"):
        RateLimits(Store(StoreSettings(url=shared_redis_url)), writes="often")
