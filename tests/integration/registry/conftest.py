"""A registry on a real server."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.core.bus import Bus, Patience, ensure_streams
from quarterdeck.core.registry import Registry
from quarterdeck.embedded.nats_server import NatsServer

QUICK = Patience(ping_every_s=0.2, ping_timeout_s=0.5, suspicious_age_s=0.1)


async def _registry(url: str) -> AsyncIterator[Registry]:
    bus = await Bus.connect(url, name="test", patience=QUICK)
    await ensure_streams(bus)
    registry = Registry(bus)
    yield registry
    await registry.close()
    await bus.close()


@pytest.fixture
async def registry(shared_nats_url: str) -> AsyncIterator[Registry]:
    """On the session's server; do not stop that server."""
    async for registry in _registry(shared_nats_url):
        yield registry


@pytest.fixture
async def own_registry(nats_server: NatsServer) -> AsyncIterator[Registry]:
    """On a server of the test's own (`nats_server`): made for outages."""
    async for registry in _registry(nats_server.url):
        yield registry
