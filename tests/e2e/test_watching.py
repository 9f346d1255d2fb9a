"""Watching: events and output in one exact sequence, however often the watcher is cut off."""

import asyncio
import base64
import json
import random
import subprocess

import pytest

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

TALK = "for i in $(seq 1 60); do echo line $i; sleep 0.02; done"


async def test_a_watcher_cut_at_random_points_sees_what_an_uninterrupted_one_sees(system: System) -> None:
    """S4-22, I5: resumed with Last-Event-ID, the concatenation is identical."""
    dice = random.Random(42)
    batch_id = await system.batch(TALK, system.agents)
    path = f"/api/batch_commands/{batch_id}/events"

    async def whole() -> list[tuple[str, str]]:
        return [(event.id, event.kind) async for event in system.watch(path) if event.kind != "snapshot"]

    async def in_pieces() -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        last_id, ended = "", False
        while not ended:
            left = dice.randint(1, 40)
            async for event in system.watch(path, last_id=last_id):
                if event.kind == "snapshot":
                    continue
                assert event.kind != "resync"
                seen.append((event.id, event.kind))
                last_id, ended = event.id or last_id, event.kind == "end"
                left -= 1
                if left == 0:
                    break
        return seen

    async with asyncio.timeout(90):
        uninterrupted, resumed = await asyncio.gather(whole(), in_pieces())

    assert resumed == uninterrupted
    ids = [event_id for event_id, kind in resumed if kind != "end"]
    assert ids == sorted(set(ids), key=lambda text: int(text.rpartition("-")[2]))


async def test_output_in_the_stream_is_the_log(system: System) -> None:
    """I4: offsets are contiguous per stream, and the bytes are those of the download."""
    batch_id = await system.batch("seq 1 5000; seq 1 100 >&2", system.agents)
    pieces: dict[tuple[str, str], bytes] = {}

    async for event in system.watch(f"/api/batch_commands/{batch_id}/events"):
        if event.kind == "output":
            key = event.body["command_id"], event.body["stream"]
            assert event.body["offset"] == len(pieces.get(key, b""))
            pieces[key] = pieces.get(key, b"") + base64.b64decode(event.body["data"])

    assert len(pieces) == 8
    for (command_id, stream), raw in pieces.items():
        assert raw == await system.output(command_id, stream)


async def test_a_command_watched_after_its_end_tells_its_whole_story(system: System) -> None:
    """S4-22: accepted, sent, completed; then the stream ends by itself."""
    command_id = await system.command(system.agents[0], "shell", {"command": "echo hi"})
    await system.ended(command_id)

    events = [event async for event in system.watch(f"/api/command/{command_id}/events")]

    kinds = [event.kind for event in events]
    types = [event.body["type"] for event in events if event.kind == "command"]
    assert (kinds[0], kinds[-1]) == ("snapshot", "end")
    assert (types[0], types[-1]) == ("command.accepted", "command.completed")
    assert "output" in kinds


async def test_curl_follows_a_batch(system: System) -> None:
    """S4-22: plain SSE, no client of ours."""
    batch_id = await system.batch("echo from curl", system.agents[:1])
    ready = system.ready
    url = f"{ready['api']}/api/batch_commands/{batch_id}/events?text=1"

    process = await asyncio.create_subprocess_exec(
        *("curl", "-sN", "--max-time", "30", "-H", f"Authorization: Bearer {ready['token']}", url),
        stdout=subprocess.PIPE,
    )
    raw, _ = await process.communicate()

    assert process.returncode == 0
    text = raw.decode()
    assert "event: end" in text
    assert "from curl" in text


async def test_the_same_stream_comes_as_ndjson(system: System) -> None:
    batch_id = await system.batch("echo x", system.agents[:1])

    async with system.client.stream(
        "GET", f"/api/batch_commands/{batch_id}/events", headers={"Accept": "application/x-ndjson"}
    ) as answer:
        lines = [json.loads(line) async for line in answer.aiter_lines() if line.strip()]

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert lines


@pytest.mark.parametrize("last_id", ["garbage", "1-2-3", "abc-99999999999"])
async def test_an_impossible_last_event_id_is_refused_by_name(system: System, last_id: str) -> None:
    batch_id = await system.batch("true", system.agents[:1])
    await system.finished(batch_id)

    answer = await system.client.get(
        f"/api/batch_commands/{batch_id}/events",
        headers={"Last-Event-ID": last_id, "Accept": "text/event-stream"},
    )

    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        assert answer.json()["code"] == "invalid_event_id"
    else:  # an id of another life of the log: told, not silently skipped
        assert "event: resync" in answer.text
