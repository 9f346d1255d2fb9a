"""Watchers who are cut often, and watchers who do not read."""

import random
from pathlib import Path

from quarterdeck.broadcaster.log_reader import LogReader
from quarterdeck.broadcaster.ring import BLOCK_BYTES
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core import metrics
from quarterdeck.core.store import CommandView
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import Deck
from tests.integration.broadcaster.stage import Frame, RawWatcher, new_command, running_broadcaster, watching

_CUTS = 200
_DEAF = 50


async def printed(deck: Deck, chunks: list[bytes]) -> CommandView:
    """A finished command whose stdout was stored as `chunks`."""
    view = await new_command(deck)
    await deck.move(view.command_id, S.SENT)
    offset = 0
    for chunk in chunks:
        offset = await deck.output(view, chunk, offset)
    await deck.move(view.command_id, S.SUCCEEDED)
    return view


def told(frames: list[Frame]) -> list[tuple[str, str]]:
    return [(frame.id, frame.event) for frame in frames if frame.event in {"command", "output"}]


async def test_cut_at_two_hundred_points_the_stream_is_the_same(stage: Deck) -> None:
    """I5, S4-22: ids and bytes, whether the cut comes between two events or in the middle of one."""
    dice = random.Random(20)
    chunks = [dice.randbytes(dice.choice([1, 40, 700, 9_000])) for _ in range(_CUTS * 2)]
    view = await printed(stage, chunks)
    path = f"/api/command/{view.command_id}/events"
    async with watching(stage, path) as stream:
        whole = await stream.rest()

    parts: list[Frame] = []
    cuts = 0
    last_event_id: str | None = None
    while not parts or parts[-1].event != "end":
        async with watching(stage, path, last_event_id=last_event_id) as stream:
            for _ in range(dice.randint(1, 3) if cuts < _CUTS else 1_000_000):
                frame = await stream.next()
                if frame is None:
                    break
                parts.append(frame)
                last_event_id = frame.id or last_event_id
        cuts += 1

    assert cuts > _CUTS // 2
    assert told(parts) == told(whole)
    output = b"".join(frame.bytes for frame in parts if frame.event == "output")
    assert output == b"".join(chunks)


async def test_fallen_watchers_read_the_log_in_small_pieces_and_few_at_once(stage: Deck) -> None:
    """I9: what a piece costs has a bound, whatever the log holds; small events come many at a time."""
    view = await printed(stage, [bytes(256 * 1024)] * 12 + [b"x"] * 300)
    reader = LogReader(stage.bus)
    filters = [f"qd.output.*.*.{view.command_id}.>"]

    pieces = []
    after = 0
    while piece := await reader.after(after, filters):
        pieces.append([len(message.body) for message in piece])
        after = piece[-1].sequence

    assert sum(map(sum, pieces)) == 12 * 256 * 1024 + 300
    assert max(map(sum, pieces)) <= 2 * (MAX_MESSAGE_BYTES + BLOCK_BYTES)
    assert len(pieces) < 100


async def test_who_reads_is_not_kept_waiting_by_those_who_do_not(deck: Deck, tmp_path: Path) -> None:
    """I9: watchers that never read are cut off, and one that reads gets all of it meanwhile."""
    chunk = random.Random(1).randbytes(200_000)
    view = await printed(deck, [chunk] * 60)
    settings = BroadcasterSettings(port_file=tmp_path / "port", ring_bytes=1024 * 1024, stall_s=3.0)
    path = f"/api/command/{view.command_id}/events"
    cut_before = metrics.WATCHERS_CUT._value.get()
    async with running_broadcaster(deck, settings) as http:
        deck.http = http
        deaf = [await RawWatcher.open(str(http.base_url), path) for _ in range(_DEAF)]
        try:
            for watcher in deaf:
                watcher.writer.transport.pause_reading()  # type: ignore[attr-defined]

            async with watching(deck, path) as stream:
                whole = await stream.rest()

            assert sum(len(frame.bytes) for frame in whole if frame.event == "output") == 60 * len(chunk)
            await eventually(lambda: metrics.WATCHERS_CUT._value.get() == cut_before + _DEAF, within_s=30)
        finally:
            for watcher in deaf:
                watcher.writer.transport.abort()
