"""A store on a real Redis."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.core.store import Store, StoreSettings


@pytest.fixture
async def store(shared_redis_url: str) -> AsyncIterator[Store]:
    store = Store(StoreSettings(url=shared_redis_url))
    await store.initialise()
    yield store
    await store.close()
