"""Output: live, byte-exact, on both carriers, however much."""

import asyncio
import base64
import hashlib
import json

import pytest

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARRIERS = pytest.mark.parametrize("carrier", ["quic", "grpc"])


async def _sha256_of_log(system: System, command_id: str) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    async with system.client.stream("GET", f"/api/command/{command_id}/output?stream=stdout") as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
            length += len(chunk)
    return digest.hexdigest(), length


@CARRIERS
async def test_fifty_megabytes_of_noise_arrive_byte_exact(system: System, carrier: str) -> None:
    """S4-17, S4-35, I4: what the machine's own sha256sum saw is what the log has."""
    script = "f=$(mktemp); head -c 50000000 /dev/urandom > $f; cat $f; sha256sum < $f >&2; rm $f"
    command_id = await system.command(system.agent_on(carrier), "shell", {"command": script})

    command = await system.ended(command_id)

    assert command["status"] == "completed"
    told = (await system.output(command_id, "stderr")).split()[0].decode()
    assert await _sha256_of_log(system, command_id) == (told, 50_000_000)


@CARRIERS
async def test_a_line_of_a_hundred_megabytes_is_no_problem(system: System, carrier: str) -> None:
    """S4-35: no line limit anywhere."""
    script = "head -c 100000000 /dev/zero | tr '\\0' x"
    command_id = await system.command(system.agent_on(carrier), "shell", {"command": script}, timeout=100)

    command = await system.ended(command_id)

    assert command["status"] == "completed"
    digest, length = await _sha256_of_log(system, command_id)
    assert length == 100_000_000
    assert digest == hashlib.sha256(b"x" * 100_000_000).hexdigest()


@CARRIERS
async def test_output_is_seen_while_the_command_runs(system: System, carrier: str) -> None:
    """S4-17, S4-22: the first line is there before the command is allowed to go on."""
    agent = system.agent_on(carrier)
    gate = system.data_dir / f"gate-{carrier}"
    script = f"echo first; while ! test -e {gate}; do sleep 0.05; done; echo second"
    batch_id = await system.batch(script, [agent])

    seen = b""
    async with asyncio.timeout(60):
        async for event in system.watch(f"/api/batch_commands/{batch_id}/events"):
            if event.kind == "output":
                seen += base64.b64decode(event.body["data"])
            if seen == b"first\n":
                gate.touch()
            if event.kind == "end":
                break

    assert seen == b"first\nsecond\n"


async def test_a_part_of_the_log_can_be_asked_for(system: System) -> None:
    """S4-23: the full log, a range of it, or its chunks as NDJSON."""
    command_id = await system.command(system.agents[0], "shell", {"command": "printf 0123456789"})
    await system.ended(command_id)
    path = f"/api/command/{command_id}/output"

    ranged = await system.client.get(path, params={"stream": "stdout"}, headers={"Range": "bytes=2-4"})
    offset = await system.client.get(path, params={"stream": "stdout", "offset": 7})
    lines = await system.client.get(
        path, params={"stream": "stdout"}, headers={"Accept": "application/x-ndjson"}
    )

    assert (ranged.status_code, ranged.content) == (206, b"234")
    assert offset.content == b"789"
    chunks = [json.loads(line) for line in lines.text.splitlines()]
    assert b"".join(base64.b64decode(chunk["data"]) for chunk in chunks) == b"0123456789"


async def test_streams_are_kept_apart_and_say_how_much(system: System) -> None:
    """S4-19, S4-20"""
    script = "for i in $(seq 200); do echo out $i; echo err $i >&2; done"
    command_id = await system.command(system.agents[0], "shell", {"command": script})
    await system.ended(command_id)

    assert await system.output(command_id) == b"".join(b"out %d\n" % i for i in range(1, 201))
    assert await system.output(command_id, "stderr") == b"".join(b"err %d\n" % i for i in range(1, 201))
