"""A running broadcaster per test, beside the brokers; the test writes what the other services would."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.broadcaster.settings import BroadcasterSettings
from tests.integration.api.deck import Deck, brokers
from tests.integration.broadcaster.stage import running_broadcaster


@pytest.fixture
async def deck(shared_nats_url: str, shared_redis_url: str) -> AsyncIterator[Deck]:
    async with brokers(shared_nats_url, shared_redis_url) as deck:
        yield deck


@pytest.fixture
async def stage(deck: Deck, tmp_path: Path) -> AsyncIterator[Deck]:
    """`deck.http` reaches a broadcaster."""
    settings = BroadcasterSettings(port_file=tmp_path / "port", stall_s=3.0)
    async with running_broadcaster(deck, settings) as client:
        deck.http = client
        deck.url = str(client.base_url)
        yield deck
