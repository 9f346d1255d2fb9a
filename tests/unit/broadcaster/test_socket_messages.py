"""A batch in seed 4's words, as pure data: what each event becomes, and output in pieces that any client takes."""

import base64
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.broadcaster.handlers import socket_messages
from quarterdeck.broadcaster.handlers.frames import Format, Variant, encode
from quarterdeck.contracts import subjects
from quarterdeck.contracts.event_payloads import PAYLOADS, CommandMoved
from quarterdeck.contracts.events import EventRecord, encode_cloud_event
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import StoredMessage
from quarterdeck.web.tasks import STATUS_OF

SOCKET = Variant(Format.SOCKET, 77)
BATCH, CHILD = "0190f0b0-0000-7000-8000-000000000000", "0190f0b0-0000-7000-8000-000000000001"
_ONE_MESSAGE_BYTES = 1024 * 1024
"""What common clients take at most."""


def event(kind: str, version: int = 4, **payload: Any) -> StoredMessage:
    command_id = CHILD if kind.startswith("command.") else None
    record = EventRecord(
        type=kind,
        tenant="t",
        aggregate_id=command_id or BATCH,
        version=version,
        at_ms=1_704_110_400_000,
        batch_id=BATCH,
        command_id=command_id,
        payload=payload,
    )
    return StoredMessage(record.subject, encode_cloud_event(record), {}, 3, 0)


def printed(body: bytes, offset: int = 5) -> StoredMessage:
    subject = subjects.output("t", BATCH, CHILD, 2, "stderr")
    return StoredMessage(subject, body, {"Qd-Offset": str(offset), "Qd-Time": "1704110400000"}, 9, 0)


def told(*messages: StoredMessage) -> list[dict[str, Any]]:
    lines = socket_messages.decode(encode(messages, SOCKET))
    return [msgspec.json.decode(line.text) for line in lines]


def test_each_state_that_a_command_enters_is_told_in_the_seeds_words() -> None:
    """S4-11, S4-22"""
    kinds = [kind for kind, payload in PAYLOADS.items() if payload is CommandMoved]
    for kind in kinds:
        for state in CommandState:
            (message,) = told(event(kind, state=state, attempt=1, agent_id="a1", guest="vm1"))
            assert message["type"] == "CHILD_TASK_UPDATE"
            assert (message["id"], message["payload"]["vps_id"]) == ("77-3", "a1/vm1")
            assert message["payload"]["status"] == STATUS_OF[state]


def test_the_wire_is_told_where_the_event_knows_it() -> None:
    """S4-22"""
    known = told(event("command.sent", state="sent", attempt=1, agent_id="a1", via="grpc"))
    unknown = told(event("command.started", state="executing", attempt=1, agent_id="a1"))
    assert known[0]["payload"]["via"] == "grpc"
    assert "via" not in unknown[0]["payload"]


def test_a_line_carries_what_tells_old_from_new() -> None:
    """S4-22"""
    (child,) = socket_messages.decode(
        encode([event("command.sent", 7, state="sent", attempt=1, agent_id="a1")], SOCKET)
    )
    (batch,) = socket_messages.decode(encode([event("batch.progressed", 8, state="IN_PROGRESS")], SOCKET))
    (output,) = socket_messages.decode(encode([printed(b"x")], SOCKET))
    assert (child.entity, child.version, child.versioned) == (CHILD, 7, True)
    assert (batch.entity, batch.version, batch.versioned) == (BATCH, 8, True)
    assert not output.versioned


def test_a_gap_in_the_output_is_an_error_that_names_it() -> None:
    """I4, S4-36"""
    (message,) = told(event("command.output_lost", stream="stdout", from_offset=3, to_offset=9))
    assert message["type"] == "ERROR"
    assert message["payload"]["code"] == "output_lost"
    assert (message["payload"]["child_command_id"], message["payload"]["to_offset"]) == (CHILD, 9)


def test_what_no_page_asks_for_is_not_told() -> None:
    """S4-22: the batch's creation is told by the snapshot."""
    assert told(event("batch.created", 1, total=3)) == []


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.integers(1, 1_500))
def test_output_in_pieces_is_the_same_bytes_and_cuts_no_character(piece: bytes, times: int) -> None:
    """S4-17, S4-35, I4: whatever was printed, line breaks and control characters included."""
    body = piece * times
    messages = told(printed(body))
    whole = b""
    for message in messages:
        payload = message["payload"]
        exact = payload["chunk_base64"]
        part = payload["chunk"].encode() if exact is None else base64.b64decode(exact)
        assert (payload["offset"], payload["length"]) == (5 + len(whole), len(part))
        assert len(msgspec.json.encode(message)) < _ONE_MESSAGE_BYTES
        whole += part
    assert whole == body
    assert [("id" in message) for message in messages] == [False] * (len(messages) - 1) + [True] * bool(
        messages
    )
    if _is_text(body):
        assert all(message["payload"]["chunk_base64"] is None for message in messages)


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
