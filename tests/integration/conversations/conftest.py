"""The service that takes sessions' commands in, on a real NATS and a real Redis."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.core.store import Store, StoreSettings
from tests.integration.conversations.talk import Talk


@pytest.fixture
async def talk(shared_nats_url: str, shared_redis_url: str) -> AsyncIterator[Talk]:
    bus = await Bus.connect(shared_nats_url, name="talk")
    await ensure_streams(bus, 1)
    store = Store(StoreSettings(url=shared_redis_url))
    await store.initialise()
    yield Talk(bus, store)
    await store.close()
    await bus.close()
