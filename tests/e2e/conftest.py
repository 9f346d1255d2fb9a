"""Systems to test: one that most tests share, and a factory for those that break theirs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.system import System


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Six services, NATS, Redis, two agents per carrier. Do not break it: other tests use it too."""
    async with System.running(tmp_path_factory.mktemp("shared") / "data", "--agents", "4") as system:
        yield system
