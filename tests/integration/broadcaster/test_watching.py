"""Watching a command, a batch, a tenant: what comes, in which order, and when it ends."""

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.events import EventRecord, encode_cloud_event
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from quarterdeck.core import metrics
from quarterdeck.core.bus import Outgoing
from quarterdeck.core.store import Move
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import Deck
from tests.integration.broadcaster.stage import (
    Frame,
    RawWatcher,
    Stream,
    new_batch,
    new_command,
    running_broadcaster,
    watching,
)


async def test_who_watches_after_sending_sees_all_of_it_and_an_end(stage: Deck) -> None:
    """S4-17, S4-22"""
    view = await new_command(stage)
    await stage.move(view.command_id, S.SENT)
    await stage.output(view, b"hello ", 0)
    async with watching(stage, f"/api/command/{view.command_id}/events") as stream:
        seen = await stream.until("output")
        await stage.output(view, b"world\xff\n", 6)
        await stage.move(view.command_id, S.SUCCEEDED, exit_code=0)
        seen += await stream.rest()
        assert stream.retry == "1000"
    assert [frame.event for frame in seen] == [
        "snapshot",
        "command",
        "command",
        "output",
        "output",
        "command",
        "end",
    ]
    assert seen[0].id == ""
    assert seen[0].data["command"]["state"] == "sent"
    assert [frame.data["type"] for frame in seen if frame.event == "command"] == [
        "command.accepted",
        "command.sent",
        "command.completed",
    ]
    chunks = [frame for frame in seen if frame.event == "output"]
    assert b"".join(chunk.bytes for chunk in chunks) == b"hello world\xff\n"
    assert [(chunk.data["offset"], chunk.data["length"]) for chunk in chunks] == [(0, 6), (6, 7)]
    assert chunks[0].data["agent_id"] == "a1"
    assert chunks[0].data["stream"] == "stdout"


async def test_the_end_tells_what_was_printed_beyond_the_limit(stage: Deck) -> None:
    """I4: truncation is explicit, and told with the end."""
    view = await new_command(stage)
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.SUCCEEDED, stdout_bytes=9, stderr_bytes=1, stdout_truncated=77)
    async with watching(stage, f"/api/command/{view.command_id}/events") as stream:
        seen = await stream.rest()
    assert seen[-2].data["data"]["stdout_truncated"] == 77
    assert (seen[-1].event, seen[-1].data) == ("end", {"truncated_bytes": {"stdout": 77}})


async def test_text_is_text_where_a_whole_chunk_is_utf_8(stage: Deck) -> None:
    """S4-17"""
    view = await new_command(stage)
    euro = "€".encode()
    await stage.output(view, "zwölf\n".encode(), 0)
    await stage.output(view, euro[:1], 7)
    await stage.output(view, euro[1:], 8)
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.SUCCEEDED)
    async with watching(stage, f"/api/command/{view.command_id}/events", text=1) as stream:
        chunks = [frame for frame in await stream.rest() if frame.event == "output"]
    assert chunks[0].data["text"] == "zwölf\n"
    assert "data" in chunks[1].data
    assert b"".join(chunk.bytes for chunk in chunks) == "zwölf\n€".encode()


async def test_output_can_be_left_out(stage: Deck) -> None:
    """S4-22"""
    view = await new_command(stage)
    await stage.output(view, b"noise", 0)
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.FAILED, exit_code=1)
    async with watching(stage, f"/api/command/{view.command_id}/events", output=0) as stream:
        events = [frame.event for frame in await stream.rest()]
    assert "output" not in events
    assert events[-1] == "end"


async def test_from_now_skips_history_and_tells_the_children_in_the_snapshot(stage: Deck) -> None:
    """S4-22"""
    batch_id = await new_batch(stage, 2)
    children = await stage.expand(batch_id)
    async with watching(stage, f"/api/batch_commands/{batch_id}/events", **{"from": "now"}) as stream:
        first = await stream.next()
        assert first is not None and first.event == "snapshot"
        assert first.data["batch"]["counts"] == {"sent": 2}
        assert [child["state"] for child in first.data["commands"]] == ["sent", "sent"]
        await stage.move(children[0].command_id, S.EXECUTING)
        second = await stream.next()
        assert second is not None and second.data["type"] == "command.started"


async def test_a_batch_ends_only_when_every_child_was_told(stage: Deck) -> None:
    """S4-21, S4-22"""
    batch_id = await new_batch(stage, 3)
    children = await stage.expand(batch_id)
    moves = [(child.command_id, S.SUCCEEDED) for child in children]
    for command_id, state in moves[:2]:
        await stage.move(command_id, state)
    # The last child's own end is published after the batch's, as another writer may do.
    written = await stage.store.apply([Move(moves[2][0], 1, moves[2][1], stage.clock.now_ms())])
    late, end = written.entries
    await stage.relay.publish([end])
    path = f"/api/batch_commands/{batch_id}/events"
    async with watching(stage, path) as stream, watching(stage, path, **{"from": "now"}) as other:
        frames: list[Frame] = []
        while not frames or frames[-1].data.get("type") != "batch.completed":
            frame = await stream.next()
            assert frame is not None
            frames.append(frame)
        await stage.relay.publish([late])
        rest = await stream.rest()
        assert [frame.event for frame in rest] == ["command", "end"]
        assert [frame.event for frame in await other.rest()] == ["snapshot", "command", "end"]


async def test_a_tenant_sees_commands_batches_and_agents_without_output(stage: Deck) -> None:
    """S4-22"""
    async with watching(stage, "/api/events") as stream:
        first = await stream.next()
        assert first is not None and first.event == "snapshot"
        view = await new_command(stage)
        await stage.output(view, b"quiet", 0)
        record = EventRecord(
            type="agent.connected", tenant="default", aggregate_id="a1", version=7, at_ms=1, payload={}
        )
        await stage.bus.publish(Outgoing(record.subject, encode_cloud_event(record)))
        second, third = await stream.next(), await stream.next()
    assert second is not None and third is not None
    assert (second.event, third.event) == ("command", "agent")


async def test_ndjson_by_accept_has_the_same_frames(stage: Deck) -> None:
    """S4-22"""
    view = await new_command(stage)
    await stage.output(view, b"x", 0)
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.SUCCEEDED)
    path = f"/api/command/{view.command_id}/events"
    answer = await stage.http.get(path, headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [msgspec.json.decode(line) for line in answer.text.splitlines() if line]
    async with watching(stage, path) as stream:
        frames = await stream.rest()
    assert [line["event"] for line in lines] == [frame.event for frame in frames]
    assert [line.get("id", "") for line in lines] == [frame.id for frame in frames]
    assert [line["data"] for line in lines][1:] == [frame.data for frame in frames][1:]


@pytest.mark.parametrize(
    "path", ["/api/command/{}/events", "/api/batch_commands/{}/events"], ids=["command", "batch"]
)
async def test_what_does_not_exist_is_404_with_the_field(stage: Deck, path: str) -> None:
    """S4-36"""
    answer = await stage.http.get(path.format("0190f0b0-0000-7000-8000-000000000000"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["field"] in ("command_id", "batch_command_id")
    assert (await stage.http.get(path.format("a.b"))).json()["code"] == "invalid_id"


async def test_a_thousand_watchers_share_one_consumer(stage: Deck) -> None:
    """S4-22, S4-35"""
    view = await new_command(stage)
    path = f"/api/command/{view.command_id}/events"

    before = (await stage.bus.api.call(f"STREAM.INFO.{FEED}"))["state"]["consumer_count"]
    watchers = [await RawWatcher.open(stage.url, path) for _ in range(1000)]
    await eventually(lambda: metrics.WATCHERS._value.get() == 1000, within_s=60)
    during = (await stage.bus.api.call(f"STREAM.INFO.{FEED}"))["state"]["consumer_count"]
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.SUCCEEDED)
    seen = await asyncio.gather(*(watcher.events() for watcher in watchers))
    assert during - before == 1
    assert all(events == ["snapshot", "command", "command", "command", "end"] for events in seen)

    async def consumers() -> bool:
        info = await stage.bus.api.call(f"STREAM.INFO.{FEED}")
        return bool(info["state"]["consumer_count"] == before)

    await eventually(consumers)


async def test_idle_streams_get_comments(deck: Deck, tmp_path: Path) -> None:
    """S4-34"""
    settings = BroadcasterSettings(port_file=tmp_path / "port", keep_alive_s=0.05)
    async with running_broadcaster(deck, settings) as deck.http:
        view = await new_command(deck)
        async with deck.http.stream("GET", f"/api/command/{view.command_id}/events") as response:
            comments = 0
            async for line in response.aiter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    break


async def test_stopping_ends_streams_so_that_clients_come_back_elsewhere(deck: Deck, tmp_path: Path) -> None:
    """S1-29"""
    settings = BroadcasterSettings(port_file=tmp_path / "port")
    view = await new_command(deck)
    path = f"/api/command/{view.command_id}/events"
    async with httpx.AsyncClient(timeout=30) as client:
        async with running_broadcaster(deck, settings) as first:
            url = str(first.base_url.join(path))
            response = await client.send(client.build_request("GET", url, headers=first.headers), stream=True)
            stream = Stream(response)
            seen = await stream.until("command")
        # The service has drained: had the stream held it, we would not be here.
        assert await stream.rest() == []
        assert any("come back" in comment for comment in stream.comments)
    async with running_broadcaster(deck, settings) as deck.http:
        await deck.move(view.command_id, S.UNREACHABLE)
        async with watching(deck, path, last_event_id=seen[-1].id) as again:
            assert [frame.event for frame in await again.rest()] == ["command", "end"]
