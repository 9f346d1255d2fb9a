"""The embedded nats-server: readiness, outage, restart, and death with its parent."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import nats
import psutil
import pytest

from quarterdeck.embedded.nats_server import NatsServer, NatsServerSettings
from quarterdeck.embedded.server_errors import ServerStartFailed


async def test_restarted_server_keeps_its_port_and_its_streams(nats_server: NatsServer) -> None:
    """A stop and a start on the same directory lose nothing."""
    url = nats_server.url
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream().publish("kept.one", b"1")
    await client.close()

    await nats_server.restart()

    assert nats_server.url == url
    client = await nats.connect(url)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()


async def test_stream_may_have_a_limit_beyond_the_disk(nats_server: NatsServer) -> None:
    """A small machine starts as any other does; what is full is the disk, when it is."""
    free_bytes = psutil.disk_usage(str(nats_server.settings.server_dir)).free
    client = await nats.connect(nats_server.url)

    stream = await client.jetstream().add_stream(name="LARGE", subjects=["large.>"], max_bytes=2 * free_bytes)

    assert stream.config.max_bytes == 2 * free_bytes
    await client.close()


async def test_killed_server_keeps_its_port_after_a_new_start(nats_server: NatsServer) -> None:
    """SIGKILL is an outage, not an end."""
    url, first_pid = nats_server.url, nats_server.pid

    await nats_server.kill()
    assert not nats_server.running
    await nats_server.start()

    assert nats_server.url == url
    assert nats_server.pid != first_pid
    client = await nats.connect(url)
    await client.close()


async def test_server_on_a_taken_port_fails_with_its_log(nats_server: NatsServer, tmp_path: Path) -> None:
    """The error carries what the server said, so that nobody has to look for the log."""
    second = NatsServer(
        NatsServerSettings(
            binary=nats_server.settings.binary, server_dir=tmp_path / "second", port=nats_server.port
        )
    )

    with pytest.raises(ServerStartFailed) as caught:
        await second.start()

    assert caught.value.exit_code not in (None, 0)
    assert "address already in use" in caught.value.log_tail


async def test_sync_interval_and_payload_limit_reach_the_server(
    nats_server_binary: Path, tmp_path: Path
) -> None:
    """Power-loss safety (`sync_interval: always`) is a setting of the embedded server."""
    server = NatsServer(
        NatsServerSettings(
            binary=nats_server_binary,
            server_dir=tmp_path,
            sync_interval="always",
            max_payload_bytes=2_000_000,
        )
    )

    await server.start()

    client = await nats.connect(server.url)
    assert client.max_payload == 2_000_000
    await client.close()
    await server.stop()
    assert not server.running


async def test_shared_server_has_no_streams_at_the_start(shared_nats_url: str) -> None:
    """Whatever an earlier test left is gone; the twin below leaves the same."""
    await _leave_a_stream(shared_nats_url)


async def test_shared_server_is_emptied_for_the_next_test(shared_nats_url: str) -> None:
    """See the twin above."""
    await _leave_a_stream(shared_nats_url)


async def _leave_a_stream(url: str) -> None:
    client = await nats.connect(url)
    assert await client.jetstream().streams_info() == []
    await client.jetstream().add_stream(name="LEFT", subjects=["left"])
    await client.close()


_PARENT = """
import asyncio, sys
from pathlib import Path
from quarterdeck.embedded.nats_server import NatsServer, NatsServerSettings

async def main():
    server = NatsServer(NatsServerSettings(binary=Path(sys.argv[1]), server_dir=Path(sys.argv[2])))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
async def test_server_dies_with_a_killed_parent(nats_server_binary: Path, tmp_path: Path) -> None:
    """Children die with the parent, even when it gets SIGKILL."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(nats_server_binary), str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    server = psutil.Process(int(await parent.stdout.readline()))

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    gone, alive = await asyncio.to_thread(psutil.wait_procs, [server], timeout=10)
    assert alive == []
    assert gone == [server]
