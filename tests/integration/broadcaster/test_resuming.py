"""Resuming by Last-Event-ID: exactly what came after, or an explicit resync."""

import asyncio
import random
from pathlib import Path

import pytest

from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED, STATE
from quarterdeck.core import metrics
from quarterdeck.core.bus import ensure_streams
from quarterdeck.core.store import CommandView
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import Deck, brokers
from tests.integration.broadcaster.stage import (
    Frame,
    RawWatcher,
    new_batch,
    new_command,
    running_broadcaster,
    watching,
)


async def noisy_batch(deck: Deck, targets: int = 4, chunks: int = 40) -> str:
    """A finished batch whose children printed in turns."""
    batch_id = await new_batch(deck, targets)
    children = await deck.expand(batch_id)
    offsets = dict.fromkeys((child.command_id for child in children), 0)
    for turn in range(chunks):
        for child in children:
            text = f"{child.agent_id} line {turn}\n".encode()
            offsets[child.command_id] = await deck.output(child, text, offsets[child.command_id])
    for child in children:
        await deck.move(child.command_id, S.SUCCEEDED)
    return batch_id


def shown(frames: list[Frame]) -> list[str]:
    return [frame.raw for frame in frames if frame.event in ("command", "output", "batch")]


@pytest.mark.parametrize("seed", range(5))
async def test_cut_and_resumed_anywhere_the_parts_are_the_whole(stage: Deck, seed: int) -> None:
    """S4-22, S0-37"""
    path = f"/api/batch_commands/{await noisy_batch(stage)}/events"
    async with watching(stage, path) as stream:
        whole = await stream.rest()
    assert whole[-1].event == "end"
    cuts = random.Random(seed)
    parts: list[Frame] = []
    last_event_id = None
    while not parts or parts[-1].event != "end":
        async with watching(stage, path, last_event_id=last_event_id) as stream:
            for _ in range(cuts.randint(1, 60)):
                frame = await stream.next()
                if frame is None:
                    break
                parts.append(frame)
                last_event_id = frame.id or last_event_id
    assert shown(parts) == shown(whole)


async def test_a_live_stream_resumes_without_gap_or_repetition(stage: Deck) -> None:
    """S4-22"""
    view = await new_command(stage)
    path = f"/api/command/{view.command_id}/events"
    total = 300

    async def produce() -> None:
        offset = 0
        for index in range(total):
            offset = await stage.output(view, b"%06d\n" % index, offset)
        await stage.move(view.command_id, S.SENT)
        await stage.move(view.command_id, S.SUCCEEDED)

    producing = asyncio.create_task(produce())
    printed = b""
    last_event_id = None
    ended = False
    while not ended:
        async with watching(stage, path, last_event_id=last_event_id) as stream:
            for _ in range(25):
                frame = await stream.next()
                assert frame is not None
                last_event_id = frame.id or last_event_id
                if frame.event == "output":
                    assert frame.data["offset"] == len(printed)
                    printed += frame.bytes
                ended = frame.event == "end"
                if ended:
                    break
    await producing
    assert printed == b"".join(b"%06d\n" % index for index in range(total))


async def test_coming_back_after_the_end_is_204(stage: Deck) -> None:
    """S4-22"""
    batch_id = await noisy_batch(stage, targets=2, chunks=2)
    path = f"/api/batch_commands/{batch_id}/events"
    async with watching(stage, path) as stream:
        frames = await stream.rest()
    last = next(frame.id for frame in reversed(frames) if frame.id)
    answer = await stage.http.get(path, headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content) == (204, b"")
    by_query = await stage.http.get(path, params={"last_event_id": last})
    assert by_query.status_code == 204


@pytest.mark.parametrize("garbage", ["x", "1", "-", "1-", "1-2-3", "٣-١", "1e3-4", "9" * 40 + "-1"])
async def test_a_garbage_event_id_is_refused_with_the_field_named(stage: Deck, garbage: str) -> None:
    """S0-28"""
    view = await new_command(stage)
    answer = await stage.http.get(f"/api/command/{view.command_id}/events", params={"last_event_id": garbage})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        400,
        "invalid_event_id",
        "Last-Event-ID",
    )


async def test_an_event_id_from_the_future_is_refused(stage: Deck) -> None:
    """S0-28"""
    view = await new_command(stage)
    facts = await stage.bus.stream_info(FEED)
    answer = await stage.http.get(
        f"/api/command/{view.command_id}/events",
        headers={"Last-Event-ID": f"{facts.created_ms}-{facts.last_sequence + 1}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event_id")


async def test_an_event_id_of_another_feed_is_answered_with_a_resync(stage: Deck) -> None:
    """S4-22"""
    view = await new_command(stage)
    await stage.move(view.command_id, S.SENT)
    path = f"/api/command/{view.command_id}/events"
    async with watching(stage, path, last_event_id="12345-1") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.event, first.data["command"]["state"]) == ("resync", "sent")
        await stage.move(view.command_id, S.EXECUTING)
        second = await stream.next()
        assert second is not None and second.data["type"] == "command.started"
    async with watching(stage, path, last_event_id=first.id) as again:
        third = await again.next()
        assert third is not None and third.id == second.id


async def test_a_trimmed_log_is_answered_with_one_resync(stage: Deck) -> None:
    """S4-22"""
    batch_id = await noisy_batch(stage, targets=2, chunks=10)
    path = f"/api/batch_commands/{batch_id}/events"
    async with watching(stage, path) as stream:
        frames = await stream.rest()
    early, late = frames[2], frames[-5]
    await stage.bus.api.call(f"STREAM.PURGE.{FEED}", {"seq": int(late.id.partition("-")[2])})
    async with watching(stage, path, last_event_id=early.id) as stream:
        seen = await stream.rest()
    assert [frame.event for frame in seen] == ["resync", "end"]
    assert seen[0].data["batch"]["state"] == "COMPLETED_SUCCESSFULLY"
    assert {child["state"] for child in seen[0].data["commands"]} == {"succeeded"}
    async with watching(stage, path, last_event_id=late.id) as stream:
        rest = await stream.rest()
    assert shown(rest) == shown(frames[-4:])


async def test_a_finished_command_whose_log_is_gone_still_ends(stage: Deck) -> None:
    """S4-22"""
    view = await new_command(stage)
    await stage.move(view.command_id, S.SENT)
    await stage.move(view.command_id, S.SUCCEEDED)
    await stage.bus.api.call(f"STREAM.PURGE.{FEED}")
    other = await new_command(stage)
    await stage.move(other.command_id, S.UNREACHABLE)
    async with watching(stage, f"/api/command/{view.command_id}/events") as stream:
        frames = await stream.rest()
    assert [frame.event for frame in frames] == ["snapshot", "end"]
    assert frames[0].data["command"]["state"] == "succeeded"


async def test_a_feed_that_was_lost_ends_streams_and_resyncs_who_comes_back(
    nats_server: NatsServer, shared_redis_url: str, tmp_path: Path
) -> None:
    """S0-37, S4-22"""
    async with brokers(nats_server.url, shared_redis_url) as deck:
        settings = BroadcasterSettings(port_file=tmp_path / "port")
        async with running_broadcaster(deck, settings) as deck.http:
            view = await new_command(deck)
            path = f"/api/command/{view.command_id}/events"
            async with watching(deck, path) as stream:
                seen = await stream.until("command")
                for name in (FEED, STATE):
                    await deck.bus.api.call(f"STREAM.DELETE.{name}")
                await ensure_streams(deck.bus, 1)
                assert await stream.rest() == []
            async with watching(deck, path, last_event_id=seen[-1].id) as stream:
                first = await stream.next()
                assert first is not None and first.event == "resync"
                await deck.move(view.command_id, S.UNREACHABLE)
                assert [frame.event for frame in await stream.rest()] == ["command", "end"]


async def fill(deck: Deck, view: CommandView, megabytes: int) -> None:
    offset = 0
    for _ in range(megabytes):
        chunks = []
        for _ in range(4):
            chunks.append(deck.chunk(view, b"x" * 262_144, offset))
            offset += 262_144
        await deck.bus.publish_many(chunks)


async def test_who_stops_reading_is_cut_off_and_delays_nobody(stage: Deck) -> None:
    """S4-33, S4-35"""
    view = await new_command(stage)
    path = f"/api/command/{view.command_id}/events"
    cut_before = metrics.WATCHERS_CUT._value.get()
    stalled = await RawWatcher.open(stage.url, path)
    await stalled.reader.readuntil(b"snapshot")
    stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with watching(stage, path) as stream:
        filling = asyncio.create_task(fill(stage, view, 48))
        received = 0
        while received < 48 * 1_048_576:
            frame = await stream.next()
            assert frame is not None
            received += frame.data.get("length", 0) if frame.event == "output" else 0
        await filling
        await eventually(lambda: metrics.WATCHERS_CUT._value.get() == cut_before + 1)
        await stage.move(view.command_id, S.SENT)
        await stage.move(view.command_id, S.SUCCEEDED)
        assert [frame.event for frame in await stream.rest()] == ["command", "command", "end"]
    stalled.writer.close()


async def test_who_falls_behind_the_ring_reads_the_log_and_catches_up(deck: Deck, tmp_path: Path) -> None:
    """S4-35"""
    settings = BroadcasterSettings(port_file=tmp_path / "port", ring_bytes=64 * 1024)
    async with running_broadcaster(deck, settings) as deck.http:
        view = await new_command(deck)
        path = f"/api/command/{view.command_id}/events"
        async with watching(deck, path) as fast, watching(deck, path) as slow:
            offset = 0
            for index in range(200):
                offset = await deck.output(view, b"%08d" % index * 512, offset)
            await deck.move(view.command_id, S.SENT)
            await deck.move(view.command_id, S.SUCCEEDED)
            quick = await fast.rest()
            behind = await slow.rest()
        async with watching(deck, path) as late:
            afterwards = await late.rest()
    assert shown(quick) == shown(behind) == shown(afterwards)
    assert sum(frame.event == "output" for frame in quick) == 200
