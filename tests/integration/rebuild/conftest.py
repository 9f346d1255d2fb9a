"""Histories on a real NATS and a real Redis that may be emptied and stopped."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.embedded.redis_server import RedisServer
from tests.integration.rebuild.history import History, history_on


@pytest.fixture
async def history(shared_nats_url: str, redis_server: RedisServer) -> AsyncIterator[History]:
    async with history_on(shared_nats_url, redis_server.url) as history:
        yield history
