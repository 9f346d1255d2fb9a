"""One port: the api passes the watch paths on to the broadcaster, as they come, and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from quarterdeck.api.settings import ApiSettings
from quarterdeck.broadcaster.service import BroadcasterService
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core import metrics
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import Deck, brokers, context_of, running, running_api
from tests.integration.broadcaster.stage import new_batch, new_command, watching
from tests.integration.broadcaster.wire import wired


@pytest.fixture(params=["tcp", "unix"])
async def one_port(
    request: pytest.FixtureRequest, shared_nats_url: str, shared_redis_url: str, tmp_path: Path
) -> AsyncIterator[Deck]:
    """`deck.http` reaches an api that forwards to a broadcaster over TCP or a Unix socket."""
    behind = BroadcasterSettings(
        port_file=tmp_path / "broadcaster.port",
        stall_s=1.0,
        unix_socket=tmp_path / "b.sock" if request.param == "unix" else None,
    )
    async with brokers(shared_nats_url, shared_redis_url) as deck:
        async with running(BroadcasterService(behind), context_of(deck.bus, deck.store, "broadcaster")):
            port = (tmp_path / "broadcaster.port").read_text().strip()
            url = f"unix://{tmp_path}/b.sock" if request.param == "unix" else f"http://127.0.0.1:{port}"
            front = ApiSettings(port=0, port_file=tmp_path / "api.port", broadcaster_url=url)
            async with running_api(deck, front) as deck.http:
                deck.url = str(deck.http.base_url)
                yield deck


async def test_a_stream_comes_through_as_it_happens_and_resumes(one_port: Deck) -> None:
    """S4-22"""
    view = await new_command(one_port)
    path = f"/api/command/{view.command_id}/events"
    async with watching(one_port, path) as stream:
        await stream.until("command")
        await one_port.output(view, b"live\n", 0)
        output = await stream.next()
        assert output is not None and output.bytes == b"live\n"
    await one_port.move(view.command_id, S.UNREACHABLE)
    async with watching(one_port, path, last_event_id=output.id) as stream:
        frames = await stream.rest()
    assert [frame.event for frame in frames] == ["command", "end"]
    answer = await one_port.http.get(path, headers={"Last-Event-ID": frames[0].id})
    assert answer.status_code == 204


async def test_a_watcher_that_leaves_takes_its_upstream_with_it(one_port: Deck) -> None:
    """S1-14"""
    view = await new_command(one_port)
    before = metrics.WATCHERS._value.get()
    async with watching(one_port, f"/api/command/{view.command_id}/events") as stream:
        await stream.until("snapshot")
        assert metrics.WATCHERS._value.get() == before + 1
    await eventually(lambda: metrics.WATCHERS._value.get() == before)


async def test_the_broadcaster_decides_who_may_watch(one_port: Deck) -> None:
    """S0-27"""
    async with httpx.AsyncClient(base_url=one_port.url) as stranger:
        assert (await stranger.get("/api/events")).status_code == 401
        ticket = (await one_port.http.post("/api/tickets")).json()["ticket"]
        async with stranger.stream("GET", "/api/events", params={"ticket": ticket}) as response:
            assert response.status_code == 200
        assert (await stranger.get("/api/events", params={"ticket": ticket})).status_code == 401
    assert (await one_port.http.get("/api/agents")).status_code == 200


async def test_a_broadcaster_that_is_away_is_503(deck: Deck, tmp_path: Path) -> None:
    """S4-36"""
    settings = ApiSettings(port=0, port_file=tmp_path / "p", broadcaster_url=f"unix://{tmp_path}/nobody.sock")
    async with running_api(deck, settings) as client:
        answer = await client.get("/api/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers


async def test_a_run_streams_its_own_command_in_the_same_answer(one_port: Deck) -> None:
    """S1-7, S1-11"""
    await one_port.agent("a1")
    asking = one_port.http.stream(
        "POST",
        "/api/agents/a1/run",
        json={"command": "echo live"},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-1"},
    )
    async with asking as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        seen = [await anext(lines) for _ in range(3)]
        [message] = await one_port.queued()
        [item] = message.items  # type: ignore[union-attr]  # a dispatch, not a stop
        view = await one_port.command(item.command_id)
        await one_port.output(view, b"live\n", 0)
        await one_port.move(item.command_id, S.TERMINATED)
        seen += [line async for line in lines]
    events = [line.removeprefix("event: ") for line in seen if line.startswith("event: ")]
    assert events[0] == "snapshot"
    assert "output" in events
    assert events[-1] == "end"
    assert any(item.command_id in line for line in seen)


async def test_a_websocket_comes_through_in_both_directions(one_port: Deck) -> None:
    """S4-22, S4-24"""
    batch_id = await new_batch(one_port, 1)
    (child,) = await one_port.expand(batch_id)
    before = metrics.WATCHERS._value.get()
    async with wired(one_port, batch_id) as wire:
        await wire.until("CHILD_TASK_UPDATE")
        await one_port.output(child, b"live\n", 0)
        assert (await wire.until("NEW_LOG_OUTPUT"))[-1]["payload"]["chunk"] == "live\n"
        await wire.say("TERMINATE_TASK", child_command_id=child.command_id)
        await wire.until("CHILD_TASK_UPDATE", status="TERMINATING")
        await one_port.move(child.command_id, S.TERMINATED)
        await wire.rest()
        assert wire.closed == (1000, "the batch has ended")
    async with wired(one_port, batch_id, token="qd_wrong") as wire:
        await wire.rest()
        assert wire.closed is not None and wire.closed[0] == 4401
    await eventually(lambda: metrics.WATCHERS._value.get() == before)


async def test_a_websocket_that_leaves_or_reads_nothing_takes_its_upstream_with_it(one_port: Deck) -> None:
    """I9: the broadcaster feels the slow client through the tunnel, and cuts it off."""
    batch_id = await new_batch(one_port, 1)
    (child,) = await one_port.expand(batch_id)
    before, cut_before = metrics.WATCHERS._value.get(), metrics.WATCHERS_CUT._value.get()
    async with wired(one_port, batch_id) as wire:
        await wire.until("CHILD_TASK_UPDATE")
        assert metrics.WATCHERS._value.get() == before + 1
    await eventually(lambda: metrics.WATCHERS._value.get() == before)
    async with wired(one_port, batch_id) as deaf:
        deaf.connection.transport.pause_reading()
        offset = 0
        for _ in range(60):
            offset = await one_port.output(child, bytes(200_000), offset)
        await eventually(lambda: metrics.WATCHERS_CUT._value.get() == cut_before + 1)
        deaf.connection.transport.abort()


async def test_a_websocket_to_a_broadcaster_that_is_away_is_503(deck: Deck, tmp_path: Path) -> None:
    """S4-36"""
    settings = ApiSettings(port=0, port_file=tmp_path / "p", broadcaster_url=f"unix://{tmp_path}/nobody.sock")
    async with running_api(deck, settings) as client:
        deck.url = str(client.base_url)
        with pytest.raises(InvalidStatus) as refused:
            async with wired(deck, "x"):
                pass
    assert refused.value.response.status_code == 503
