"""A running plane per test; reports are published as a gateway would."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.dispatcher.plane import Plane, running_plane


@pytest.fixture
async def plane(shared_nats_url: str, shared_redis_url: str) -> AsyncIterator[Plane]:
    async with running_plane(shared_nats_url, shared_redis_url) as plane:
        yield plane
