"""The life of a service as a process of its own: ready, drained, crashed, stuck."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.contracts.streams import BUCKETS, STREAMS
from quarterdeck.core.bus import Bus
from quarterdeck.embedded.nats_server import NatsServer
from tests.integration.bus.polling import until

SERVICE = """
import asyncio, os, sys
from quarterdeck.core.runtime import run_service
from quarterdeck.core.settings import CoreSettings, load

class Sample:
    name = "sample"

    async def run(self, ctx):
        how = sys.argv[1]
        if how == "crash":
            raise ZeroDivisionError
        if how == "task":
            async def explode():
                raise ZeroDivisionError
            ctx.tasks.spawn(explode(), "explode")
        ctx.ready()
        await ctx.stopping.wait()
        if how == "stuck":
            await asyncio.Event().wait()
        print("drained", flush=True)

sys.exit(run_service(Sample, load(CoreSettings, "", os.environ)))
"""


class Process:
    """The service in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port_file: Path) -> None:
        self._process = process
        self._port_file = port_file

    async def ready(self) -> bool:
        if not self._port_file.exists() or not self._port_file.read_text():
            return False
        status, _ = await asyncio.to_thread(self._get, "/health/ready")
        return status == 200

    async def problems(self) -> dict[str, str]:
        _, body = await asyncio.to_thread(self._get, "/health/ready")
        problems: dict[str, str] = json.loads(body)["problems"]
        return problems

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int, str]:
        """Exit code and both outputs."""
        out, _ = await asyncio.wait_for(self._process.communicate(), 60)
        assert self._process.returncode is not None
        return self._process.returncode, out.decode()

    def _get(self, path: str) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self._port_file.read_text().strip()}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (urllib.error.URLError, OSError):
            return 0, b""


async def start(nats_url: str, tmp_path: Path, how: str, **settings: str) -> Process:
    port_file = tmp_path / "port"
    environ = {
        **os.environ,
        "QD_NATS_URL": nats_url,
        "QD_HTTP_PORT_FILE": str(port_file),
        "QD_LOG_FORMAT": "json",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, how),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Process(process, port_file)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_server.url, name="test")
    yield bus
    await bus.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_a_service_drains_and_exits_with_0(
    nats_server: NatsServer, tmp_path: Path, number: signal.Signals
) -> None:
    """S1-29: graceful stop."""
    process = await start(nats_server.url, tmp_path, "well")
    await until(process.ready)

    process.terminate(number)
    code, output = await process.end()

    assert code == 0, output
    assert "drained" in output
    assert '"event":"runtime.ended"' in output


@pytest.mark.parametrize("how", ["crash", "task"])
async def test_crash_of_the_service_or_of_a_task_ends_the_process(
    nats_server: NatsServer, tmp_path: Path, how: str
) -> None:
    """S1-4: a crash is logged with its stack; a supervisor starts the service again."""
    process = await start(nats_server.url, tmp_path, how)

    code, output = await process.end()

    assert code == 70, output
    assert "ZeroDivisionError" in output


async def test_drain_that_takes_too_long_is_cut_off(nats_server: NatsServer, tmp_path: Path) -> None:
    process = await start(nats_server.url, tmp_path, "stuck", QD_DRAIN_TIMEOUT_S="0.2")
    await until(process.ready)

    process.terminate()
    code, output = await process.end()

    assert code == 1, output
    assert "runtime.drain_timed_out" in output


async def test_service_is_unready_while_nats_is_away(nats_server: NatsServer, tmp_path: Path) -> None:
    """A service without its broker stays alive, says so, and recovers by itself."""
    process = await start(nats_server.url, tmp_path, "well")
    await until(process.ready)

    await nats_server.kill()

    async def unready() -> bool:
        return not await process.ready()

    await until(unready)
    assert "nats" in await process.problems()
    await nats_server.start()
    await until(process.ready)

    process.terminate()
    assert (await process.end())[0] == 0


async def test_service_starts_before_nats_does(nats_server: NatsServer, tmp_path: Path) -> None:
    await nats_server.kill()
    process = await start(nats_server.url, tmp_path, "well")

    await nats_server.start()
    await until(process.ready)

    process.terminate()
    assert (await process.end())[0] == 0


async def test_service_makes_the_streams_also_after_nats_lost_them(
    nats_server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    """A NATS that comes back empty is filled again."""
    process = await start(nats_server.url, tmp_path, "well")

    async def has_streams() -> bool:
        return len((await bus.api.call("STREAM.NAMES"))["streams"] or []) == len(STREAMS) + len(BUCKETS)

    await until(has_streams)
    for name in (await bus.api.call("STREAM.NAMES"))["streams"]:
        await bus.api.call(f"STREAM.DELETE.{name}")
    await nats_server.restart()

    await until(has_streams)
    process.terminate()
    assert (await process.end())[0] == 0
