"""A bus on a real server, with the product's streams."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from quarterdeck.core.bus import Bus, Patience, ensure_streams
from quarterdeck.embedded.nats_server import NatsServer

QUICK = Patience(ping_every_s=0.2, ping_timeout_s=0.5, suspicious_age_s=0.1)

Connect = Callable[[], Awaitable[Bus]]


@pytest.fixture
async def bus(shared_nats_url: str) -> AsyncIterator[Bus]:
    """On the session's server; do not stop that server."""
    bus = await Bus.connect(shared_nats_url, name="test")
    await ensure_streams(bus)
    yield bus
    await bus.close()


@pytest.fixture
async def own_bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """On a server of the test's own (`nats_server`): made for outages. Its watchdog is quick."""
    bus = await Bus.connect(nats_server.url, name="test", patience=QUICK)
    await ensure_streams(bus)
    yield bus
    await bus.close()
