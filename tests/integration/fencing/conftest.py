"""A bus with the product's streams."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.core.bus import Bus, ensure_streams


@pytest.fixture
async def bus(shared_nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(shared_nats_url, name="test-fencing")
    await ensure_streams(bus)
    yield bus
    await bus.close()
