"""One gateway of the wire's carrier per test, on a real NATS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.bus import Bus
from tests.conformance.plane import Plane, plane_of
from tests.integration.gateway.conftest import Aggregator, aggregator, bus

__all__ = ["aggregator", "bus"]


@pytest.fixture
async def plane(
    request: pytest.FixtureRequest, bus: Bus, aggregator: Aggregator, tmp_path: Path
) -> AsyncIterator[Plane]:
    async with plane_of(request.cls.wire.carrier, bus, aggregator, tmp_path) as plane:
        yield plane
