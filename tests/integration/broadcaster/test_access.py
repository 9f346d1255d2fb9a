"""Who may watch: bearer tokens, single-use tickets, and nobody else."""

import asyncio
from pathlib import Path

import httpx
import pytest

from quarterdeck.broadcaster.operations import OPERATIONS
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.errors import NotAuthenticated
from quarterdeck.core.clock import ManualClock, SystemClock
from quarterdeck.core.registry.keys import ticket_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.web.tickets import Tickets
from quarterdeck.web.tokens import Principal, token_hash
from tests.integration.api.deck import TENANT, Deck
from tests.integration.broadcaster.stage import new_command, running_broadcaster

ALICE = Principal(TENANT, "alice", "t1")


async def test_a_ticket_opens_one_stream_across_replicas(deck: Deck, tmp_path: Path) -> None:
    """S0-27"""
    one = BroadcasterSettings(port_file=tmp_path / "one")
    two = BroadcasterSettings(port_file=tmp_path / "two")
    view = await new_command(deck)
    ticket = await Tickets(deck.registry, SystemClock()).issue(ALICE)
    path = f"/api/command/{view.command_id}/events"
    async with running_broadcaster(deck, one) as first, running_broadcaster(deck, two) as second:
        urls = [str(client.base_url.join(path)) for client in (first, second) for _ in range(10)]
        async with httpx.AsyncClient() as stranger:

            async def status(url: str) -> int:
                async with stranger.stream("GET", url, params={"ticket": ticket}) as response:
                    return response.status_code

            statuses = await asyncio.gather(*(status(url) for url in urls))
    assert sorted(statuses) == [200] + [401] * 19


async def test_an_expired_ticket_opens_nothing_and_is_cleared_away(deck: Deck) -> None:
    """S0-27"""
    clock = ManualClock(SystemClock().now_ms())
    tickets = Tickets(deck.registry, clock)
    await deck.registry.tokens.watch()
    first = await tickets.issue(ALICE)
    keys = [ticket_key(token_hash(first))]
    await eventually(lambda: keys[0] in deck.registry.tokens.current)
    clock.advance(30_000)
    with pytest.raises(NotAuthenticated):
        await tickets.redeem(first)
    keys.append(ticket_key(token_hash(await tickets.issue(ALICE))))
    await eventually(lambda: [key in deck.registry.tokens.current for key in keys] == [False, True])


async def test_without_a_token_every_watch_path_is_401(stage: Deck) -> None:
    """S0-27"""
    async with httpx.AsyncClient(base_url=stage.url) as stranger:
        for operation in OPERATIONS.rows:
            path = operation.path.replace("{command_id}", "x").replace("{batch_command_id}", "x")
            answer = await stranger.request(operation.method, path)
            expected = 200 if operation.path in OPERATIONS.public_paths else 401
            assert answer.status_code == expected, operation.path
        assert (await stranger.get("/api/events?ticket=guess")).status_code == 401


async def test_another_tenants_command_cannot_be_watched(stage: Deck) -> None:
    """S1-26"""
    view = await new_command(stage)
    ticket = await Tickets(stage.registry, SystemClock()).issue(Principal("other", "mallory", "t2"))
    async with httpx.AsyncClient(base_url=stage.url) as stranger:
        answer = await stranger.get(f"/api/command/{view.command_id}/events", params={"ticket": ticket})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
