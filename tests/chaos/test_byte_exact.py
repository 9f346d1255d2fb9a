"""50 MB through a bad network and five dead gateways, and a watcher who is cut off 200 times: not a byte differs."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import httpx_sse
import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.oracle import binary, binary_printer
from quarterdeck.testing.proxy import Faults, TcpProxy, UdpProxy
from tests.e2e.agents import agent
from tests.e2e.system import System

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

SEED: Final = 50
SIZE_BYTES: Final = 50_000_000
KILLS: Final = 5
WATCHED_BYTES: Final = 16_000_000
CUTS: Final = 200
CUT_WITHIN_BYTES: Final = 120_000
"""More than one chunk in base64: about every second connection makes progress."""

MILD: Final = Faults(loss=0.001, reorder=0.001, reorder_ms=2, duplicate=0.002)
"""A few hundred datagrams of each kind in 50 MB; more would measure congestion control, not exactness."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System.running(tmp_path_factory.mktemp("byte-exact") / "data") as system:
        yield system


@asynccontextmanager
async def bad_road(system: System, carrier: str) -> AsyncIterator[TcpProxy | UdpProxy]:
    """A proxy in front of the gateway of `carrier`."""
    host, port = system.ready[carrier].split(":")
    if carrier == "quic":
        async with UdpProxy.running(host, int(port), seed=SEED) as udp:
            udp.up = udp.down = MILD
            yield udp
    else:
        async with TcpProxy.running(host, int(port), seed=SEED) as tcp:
            tcp.up = tcp.down = Faults(loss=0.002, stall_ms=20)
            yield tcp


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_50_mb_survive_five_dead_gateways_and_a_bad_network(
    system: System, tmp_path: Path, carrier: str
) -> None:
    """I4: gateways are killed at random points of progress; datagrams are lost and reordered, TCP is cut."""
    dice = random.Random(f"{SEED}-{carrier}")
    name = f"far-{carrier}"
    async with (
        bad_road(system, carrier) as road,
        agent(system, name, tmp_path / name, server=f"{carrier}://127.0.0.1:{road.port}"),
    ):
        command_id = await system.command(
            name, "shell", {"command": binary_printer(SEED, SIZE_BYTES)}, timeout=200
        )
        for point in sorted(dice.uniform(0.02, 0.9) for _ in range(KILLS)):
            await eventually(partial(_stored_beyond, system, command_id, point * SIZE_BYTES), within_s=60)
            await _kill_and_await_restart(system, f"{carrier}-gateway")
            if isinstance(road, TcpProxy):
                road.cut()
        command = await system.ended(command_id)
        output = await system.output(command_id)

    expected = hashlib.sha256(binary(SEED, SIZE_BYTES)).hexdigest()
    assert command["state"] == "succeeded"
    assert len(output) == SIZE_BYTES
    assert hashlib.sha256(output).hexdigest() == expected
    assert (command["stdout"]["sha256"], command["stdout"]["verified"]) == (expected, True)


async def test_a_watcher_cut_off_at_200_random_bytes_puts_the_whole_together(
    system: System, tmp_path: Path
) -> None:
    """I5, S4-22: each connection is reset after a random number of bytes; Last-Event-ID does the rest."""
    dice = random.Random(SEED)
    url = httpx.URL(system.ready["api"])
    headers = {"Authorization": f"Bearer {system.ready['token']}"}
    async with (
        agent(system, "watched", tmp_path / "watched"),
        TcpProxy.running(url.host, url.port or 80) as proxy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", headers=headers) as client,
    ):
        proxy.down_bytes = lambda: dice.randint(1, CUT_WITHIN_BYTES) if proxy.cuts < CUTS else None
        command_id = await system.command(
            "watched", "shell", {"command": binary_printer(SEED, WATCHED_BYTES)}, timeout=200
        )

        whole, sequences = await _put_together(client, command_id)

        assert proxy.cuts >= CUTS
        assert sequences == sorted(set(sequences))
        assert hashlib.sha256(whole).digest() == hashlib.sha256(binary(SEED, WATCHED_BYTES)).digest()
        assert whole == await system.output(command_id)


async def _put_together(client: httpx.AsyncClient, command_id: str) -> tuple[bytes, list[int]]:
    """Follows to the end, over as many connections as it takes."""
    whole, last_id = bytearray(), ""
    sequences: list[int] = []
    while True:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx_sse.aconnect_sse(
                client,
                "GET",
                f"/api/command/{command_id}/events",
                headers={"Last-Event-ID": last_id} if last_id else {},
                timeout=30,
            ) as source:
                if source.response.status_code == 204:
                    return bytes(whole), sequences
                async for event in source.aiter_sse():
                    assert event.event != "resync"
                    if event.event == "end":
                        return bytes(whole), sequences
                    if event.event not in {"command", "output"}:
                        continue
                    last_id = event.id
                    sequences.append(int(last_id.rpartition("-")[2]))
                    if event.event == "output":
                        chunk = json.loads(event.data)
                        assert chunk["offset"] == len(whole)
                        whole += base64.b64decode(chunk["data"])
        await asyncio.sleep(0)


async def _stored_beyond(system: System, command_id: str, point: float) -> bool:
    """Whether the log of the command has that many bytes."""
    answer = await system.client.get(
        f"/api/command/{command_id}/output", headers={"Range": "bytes=0-0"}, params={"stream": "stdout"}
    )
    total = answer.headers.get("content-range", "/0").rpartition("/")[2]
    return int(total) >= point


async def _kill_and_await_restart(system: System, name: str) -> None:
    pid = system.ready["pids"][name]
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: system.ready["pids"].get(name, pid) != pid, within_s=30)
