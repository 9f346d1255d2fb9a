"""The ring and the frames, as pure data."""

import base64

import msgspec
import pytest

from quarterdeck.broadcaster.handlers.frames import Format, Variant, comment, encode, frame
from quarterdeck.broadcaster.handlers.openings import Prologue, open_at
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.ring import BLOCK_BYTES, Ring
from quarterdeck.contracts import subjects
from quarterdeck.contracts.errors import InvalidEventId, InvalidInput
from quarterdeck.core.bus import StoredMessage, StreamFacts

SSE = Variant(Format.SSE, 77)
NDJSON = Variant(Format.NDJSON, 77)
ID = "0190f0b0-0000-7000-8000-000000000000"
COMMAND = Scope.of_command("t", None, ID)


def event(sequence: int, body: bytes = b'{"a":1}') -> StoredMessage:
    return StoredMessage(subjects.event("t", None, ID, "command", "sent"), body, {}, sequence, 0)


def chunk(sequence: int, body: bytes) -> StoredMessage:
    headers = {"Qd-Offset": "5", "Qd-Agent": "a1"}
    return StoredMessage(subjects.output("t", None, ID, 1, "stdout"), body, headers, sequence, 0)


def facts(first: int, last: int) -> StreamFacts:
    return StreamFacts(
        name="f", first_sequence=first, last_sequence=last, created_ms=77, messages=last, bytes=1
    )


def test_an_event_is_passed_on_as_it_is() -> None:
    """S4-22"""
    assert encode([event(3)], SSE) == b'id: 77-3\nevent: command\ndata: {"a":1}\n\n'
    assert encode([event(3)], NDJSON) == b'{"id":"77-3","event":"command","data":{"a":1}}\n'


def test_line_breaks_in_a_body_cannot_break_a_frame() -> None:
    """S4-22"""
    hostile = encode([event(3, b'{"a":\n\n1}\r')], SSE)
    assert hostile.count(b"\n") == 4
    assert b"\r" not in hostile


def test_output_is_base64_unless_it_is_text_and_text_was_asked_for() -> None:
    """S4-17"""
    (line,) = encode([chunk(4, b"h\xc3\xa9\n")], NDJSON).splitlines()
    shown = msgspec.json.decode(line)["data"]
    assert base64.b64decode(shown["data"]) == b"h\xc3\xa9\n"
    assert (shown["offset"], shown["length"], shown["agent_id"]) == (5, 4, "a1")
    text = NDJSON._replace(text=True)
    assert msgspec.json.decode(encode([chunk(4, b"h\xc3\xa9\n")], text))["data"]["text"] == "hé\n"
    assert "data" in msgspec.json.decode(encode([chunk(4, b"\xc3")], text))["data"]
    assert encode([chunk(4, b"x")], SSE._replace(output=False)) == b""


def test_frames_without_a_sequence_move_nobody() -> None:
    """S4-22"""
    assert frame(SSE, "end", b"{}") == b"event: end\ndata: {}\n\n"
    assert frame(NDJSON, "end", b"{}") == b'{"event":"end","data":{}}\n'
    assert comment(SSE, "x") == b": x\n\n"


def test_a_block_is_encoded_once_for_all_who_need_all_of_it() -> None:
    """S4-22"""
    ring = Ring(after=0)
    ring.append([event(1), event(2), event(3)])
    (block,) = ring.after(0)
    assert block.encoded(SSE, 0) is block.encoded(SSE, 0)
    assert block.encoded(SSE, 2) == encode([event(3)], SSE)
    assert ring.after(3) == []


def test_blocks_are_cut_by_size_and_dropped_oldest_first() -> None:
    """S4-35"""
    ring = Ring(after=0)
    half = b"x" * (BLOCK_BYTES // 2)
    ring.append([chunk(sequence, half) for sequence in range(1, 6)])
    assert [block.last for block in ring.after(0)] == [2, 4, 5]
    assert (ring.position, ring.held_after, ring.oldest_last) == (5, 0, 2)
    ring.drop_oldest()
    assert (ring.held_after, [block.first for block in ring.after(2)]) == (2, [3, 5])
    assert ring.size_bytes == 3 * len(half)


def test_a_watcher_begins_where_its_request_says() -> None:
    """S4-22"""
    start = open_at(COMMAND, facts(1, 9), last_event_id=None, begin=None)
    assert (start.after, start.prologue, start.with_history) == (0, Prologue.SNAPSHOT, True)
    now = open_at(COMMAND, facts(1, 9), last_event_id=None, begin="now")
    assert (now.after, now.with_history) == (9, False)
    tenant = open_at(Scope.of_tenant("t"), facts(1, 9), last_event_id=None, begin=None)
    assert tenant.after == 9
    resumed = open_at(COMMAND, facts(1, 9), last_event_id="77-4", begin=None)
    assert (resumed.after, resumed.prologue) == (4, Prologue.NOTHING)
    assert open_at(COMMAND, facts(6, 9), last_event_id="77-5", begin=None).prologue is Prologue.NOTHING
    assert open_at(COMMAND, facts(6, 9), last_event_id="77-4", begin=None).prologue is Prologue.RESYNC
    assert open_at(COMMAND, facts(1, 9), last_event_id="76-4", begin=None).prologue is Prologue.RESYNC
    with pytest.raises(InvalidEventId):
        open_at(COMMAND, facts(1, 9), last_event_id="77-10", begin=None)
    with pytest.raises(InvalidInput):
        open_at(COMMAND, facts(1, 9), last_event_id=None, begin="later")


def test_scopes_read_their_own_subjects_and_nothing_else() -> None:
    """S1-26"""
    assert COMMAND.filters == (f"qd.event.t._.{ID}.>", f"qd.output.t._.{ID}.>")
    assert COMMAND.end_subject == f"qd.event.t._.{ID}.command.completed"
    batch = Scope.of_batch("t", ID)
    assert batch.filters == (f"qd.event.t.{ID}.>", f"qd.output.t.{ID}.>")
    assert batch.end_subject == f"qd.event.t.{ID}._.batch.completed"
    assert Scope.of_tenant("t").end_subject is None
