"""A running api per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.api.settings import ApiSettings
from tests.integration.api.deck import Deck, brokers, running_api


@pytest.fixture
async def deck(shared_nats_url: str, shared_redis_url: str, tmp_path: Path) -> AsyncIterator[Deck]:
    async with brokers(shared_nats_url, shared_redis_url) as deck:
        settings = ApiSettings(port=0, port_file=tmp_path / "api.port")
        async with running_api(deck, settings) as client:
            deck.http = client
            deck.url = str(client.base_url)
            yield deck
