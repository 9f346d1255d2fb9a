"""What a quicflow client says, and what its link makes of it. Messages are packed by hand."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import DecodeError, LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import ManualClock
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.foreign.quicflow import QuicflowConversation, _Wire
from quarterdeck.gateway.foreign.quicflow_answer import command_of_message, json_text, message_id
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from quarterdeck.wire.quicflow_streams import StreamFrame
from tests.conformance.handpacked import Message, integer, octets, pack, text
from tests.unit.gateway.foreign.recording import RecordingDesk, SentFrames, written_command

PING, PONG, DATA, ACK = 1, 2, 3, 4
COMMAND, EVENT, QUERY, RESPONSE = 1, 2, 3, 4
SUCCESS, FAILURE, TIMEOUT = 1, 2, 3
OF_COMMAND, OF_CLIENT = 1, 8
"""Streams: the first one that the server opens, and one of the client's own."""


def frame(kind: int, payload: bytes) -> bytes:
    return pack(integer(1, kind), octets(2, payload), integer(3, 1_700_000_000_000))


def ack(msg_id: str = "c-1", status: int = SUCCESS, result: bytes = b"", error: str = "") -> bytes:
    return pack(text(1, msg_id), integer(2, status), octets(3, result), text(4, error))


def message(kind: int, payload: bytes, *, msg_id: str = "m-1", wait_ack: bool = False) -> bytes:
    return pack(
        text(1, msg_id), text(2, "client-001"), integer(4, kind), octets(5, payload), integer(6, wait_ack)
    )


class Link:
    """A conversation with client-001, whose first PING is behind it; `write` has written `c-1`."""

    def __init__(self, *commands: ForeignCommand) -> None:
        self.desk = RecordingDesk(*commands)
        self.connection = SentFrames()
        record = AgentRecord(tenant="acme", agent_id="a1", name="a1", aliases={"quicflow": "client-001"})
        wire = _Wire(self.connection, ManualClock())
        self.conversation = QuicflowConversation(record, "client-001", wire, 0)
        self.conversation.bind(self.desk)

    @classmethod
    async def running(cls) -> "Link":
        """One command was written, on the stream OF_COMMAND."""
        command = written_command(spec=restart())
        link = cls(command)
        await link.conversation.write_order(command)
        link.desk.told.clear()
        link.connection.frames.clear()
        return link

    async def says(self, kind: int, payload: bytes, stream_id: int = OF_COMMAND) -> None:
        await self.conversation.take(StreamFrame(stream_id, frame(kind, payload)).pack())

    @property
    def sent(self) -> list[StreamFrame]:
        return [StreamFrame.unpack(packed) for packed in self.connection.frames]


def restart() -> native.CommandSpec:
    return native.CommandSpec(command_type="restart", payload=b'{"delay_seconds": 5}')


def ended(end: CommandState, reason: str = "", error: str = "") -> tuple[Any, ...]:
    return ("finished", "c-1", end, reason, error, None)


async def test_order_goes_out_on_a_stream_of_its_own_and_counts_as_started() -> None:
    """S0-7, S0-10"""
    command = written_command(spec=restart())
    link = Link(command)

    await link.conversation.write_order(command)

    [sent] = link.sent
    outer = Message(sent.frame)
    order = outer.nested(2)
    assert (sent.stream_id, sent.fin, outer.integer(1)) == (OF_COMMAND, True, DATA)
    assert (order.text(1), order.text(2), order.text(3)) == ("c-1", "server", "client-001")
    assert (order.integer(4), order.integer(6)) == (COMMAND, 1)
    assert json.loads(order.octets(5)) == {"command_type": "restart", "payload": {"delay_seconds": 5}}
    assert link.desk.told == [("started", "c-1")]


async def test_each_order_has_its_own_stream() -> None:
    """S0-31"""
    commands = [written_command(f"c-{number}", spec=restart()) for number in range(3)]
    link = Link(*commands)

    for command in commands:
        await link.conversation.write_order(command)

    assert [sent.stream_id for sent in link.sent] == [1, 5, 9]


_ANSWERS = {
    "an ACK on the command's stream": (ACK, ack(result=b'{"ok":true}'), OF_COMMAND),
    "an ACK on a stream of the client": (ACK, ack(result=b'{"ok":true}'), OF_CLIENT),
    "an ACK that leaves out whose it is": (ACK, ack("", result=b'{"ok":true}'), OF_COMMAND),
    "a RESPONSE with protobuf": (DATA, message(RESPONSE, ack(result=b'{"ok":true}')), OF_CLIENT),
    "a RESPONSE with JSON": (
        DATA,
        message(
            RESPONSE,
            json.dumps(
                {"msg_id": "c-1", "status": 1, "result": base64.b64encode(b'{"ok":true}').decode()}
            ).encode(),
        ),
        OF_CLIENT,
    ),
    "a RESPONSE with a status by name": (
        DATA,
        message(RESPONSE, b'{"msg_id": "c-1", "status": "ACK_STATUS_SUCCESS"}'),
        OF_COMMAND,
    ),
    "a RESPONSE whose message names the command": (
        DATA,
        message(RESPONSE, b'{"status": "success"}', msg_id="c-1"),
        OF_CLIENT,
    ),
}


@pytest.mark.parametrize("way", _ANSWERS)
async def test_every_way_of_answering_ends_the_command(way: str) -> None:
    """S0-10: the promise completes, whichever way the client's kind answers."""
    link = await Link.running()

    await link.says(*_ANSWERS[way])

    own_stream = _ANSWERS[way][2] == OF_CLIENT
    assert link.desk.told == [ended(CommandState.SUCCEEDED)]
    assert link.sent[:1] == [StreamFrame(OF_COMMAND, stop=True)]
    assert link.sent[1:] == [StreamFrame(OF_CLIENT, fin=True)] * own_stream


async def test_failure_carries_the_text_of_the_client() -> None:
    """S0-20"""
    link = await Link.running()

    await link.says(ACK, ack(status=FAILURE, error="invalid parameters: delay"))

    assert link.desk.told == [ended(CommandState.FAILED, error="invalid parameters: delay")]


async def test_timeout_has_the_words_of_the_source() -> None:
    """S0-19"""
    link = await Link.running()

    await link.says(ACK, ack(status=TIMEOUT))

    assert link.desk.told == [ended(CommandState.TIMED_OUT, "execution", "promise timeout")]


async def test_answer_without_a_status_is_neither_success_nor_failure() -> None:
    """I3"""
    link = await Link.running()

    await link.says(ACK, ack(status=9))

    assert link.desk.told == [ended(CommandState.OUTCOME_UNKNOWN, "protocol", "an answer of no status")]


@pytest.mark.parametrize(
    "payload", [b"{", b'{"error": "\xff"}', b'{"msg_id": 5}', b'{"result": "?"}', b"\xff\xff"]
)
async def test_answer_that_cannot_be_read_leaves_the_outcome_unknown_and_the_link_alone(
    payload: bytes,
) -> None:
    """I3, S1-4"""
    link = await Link.running()

    await link.says(DATA, message(RESPONSE, payload, msg_id="c-1"))

    [(_, command_id, end, reason, _, _)] = link.desk.told
    assert (command_id, end, reason) == ("c-1", CommandState.OUTCOME_UNKNOWN, "protocol")


@pytest.mark.parametrize(
    ("said", "stream_id"),
    [
        (ack("c-2"), OF_COMMAND),
        (ack("c-1.2"), OF_COMMAND),
        (ack("c-1"), 5),
        (ack("c-1." + "9" * 5000), OF_CLIENT),
        (ack(""), OF_CLIENT),
    ],
    ids=["unknown command", "another attempt", "another command's stream", "absurd", "nobody's"],
)
async def test_answer_to_what_does_not_run_here_is_fenced(said: bytes, stream_id: int) -> None:
    link = await Link.running()

    await link.says(ACK, said, stream_id)

    assert link.desk.told == [("fenced", "an answer to a command that does not run here")]


async def test_second_answer_is_fenced() -> None:
    link = await Link.running()

    await link.says(ACK, ack())
    await link.says(ACK, ack(status=FAILURE))

    assert link.desk.told[1:] == [("fenced", "an answer to a command that does not run here")]


async def test_terminate_abandons_the_command() -> None:
    """The protocol has no stop."""
    command = written_command(spec=restart())
    link = Link(command)
    await link.conversation.write_order(command)

    await link.conversation.write_terminate(command)

    assert link.desk.told[1:] == [("abandon", "c-1", "the protocol has no stop: the agent may still run it")]
    assert link.sent[1:] == [StreamFrame(OF_COMMAND, stop=True)]


def callback(callback_id: str, **members: object) -> bytes:
    body = {"callback_id": callback_id, "command_type": "restart", "duration_ms": 12, **members}
    return json.dumps({"command_type": "command.callback", "payload": body}).encode()


async def test_callback_ends_a_command_that_has_no_answer_yet() -> None:
    """S0-10: the callback, as an event."""
    link = await Link.running()

    await link.says(DATA, message(EVENT, callback("c-1", success=True, result={"ok": 1})), OF_CLIENT)

    assert link.desk.told == [ended(CommandState.SUCCEEDED)]


async def test_callback_after_the_answer_changes_nothing() -> None:
    link = await Link.running()
    await link.says(ACK, ack())

    await link.says(DATA, message(EVENT, callback("c-1", success=False, error="?")), OF_CLIENT)
    await link.says(DATA, message(EVENT, callback("some-uuid", success=True)), OF_CLIENT)

    assert link.desk.told == [ended(CommandState.SUCCEEDED)]


async def test_event_is_acknowledged_when_the_client_waits_for_that() -> None:
    link = await Link.running()

    await link.says(DATA, message(EVENT, callback("x", success=True), wait_ack=True), OF_CLIENT)
    await link.says(DATA, message(EVENT, b"no json", wait_ack=True), 12)
    await link.says(DATA, message(QUERY, b"{}", wait_ack=True), 16)
    await link.says(DATA, message(EVENT, b'{"command_type": "\xff"}', wait_ack=True), 20)
    await link.says(DATA, message(EVENT, b'{"payload": ' + b"[" * 100_000, wait_ack=True), 24)

    answers = [(sent.stream_id, Message(sent.frame).nested(2).integer(2)) for sent in link.sent]
    assert answers == [(OF_CLIENT, SUCCESS), *((stream, FAILURE) for stream in (12, 16, 20, 24))]


async def test_heartbeat_is_answered_on_its_stream() -> None:
    link = Link()

    await link.says(PING, text(1, "client-001"), 4)

    [sent] = link.sent
    pong = Message(sent.frame)
    assert (sent.stream_id, sent.fin, pong.integer(1)) == (4, True, PONG)
    assert pong.nested(2).integer(1) == 1_700_000_000_000
    assert link.desk.told == [("heartbeat",)]


async def test_first_ping_is_answered_when_the_link_stands() -> None:
    link = Link()

    await link.conversation.welcome()

    assert [(sent.stream_id, Message(sent.frame).integer(1)) for sent in link.sent] == [(0, PONG)]


async def test_ping_of_another_client_ends_the_link() -> None:
    with pytest.raises(LinkRefused) as refusal:
        await Link().says(PING, text(1, "client-002"), 4)

    assert refusal.value.reason == LinkEnd.PROTOCOL


@pytest.mark.parametrize("kind", ["shell", "exec", "script", "list_commands", "list_namespaces"])
def test_what_only_our_own_agents_do_is_refused(kind: str) -> None:
    assert Link().conversation.refusal(native.CommandSpec(command_type=kind), "") is not None


def test_any_other_type_may_have_a_handler_there() -> None:
    """S0-13"""
    link = Link()

    assert link.conversation.refusal(native.CommandSpec(command_type="update_config"), "") is None
    assert link.conversation.refusal(native.CommandSpec(command_type="update_config"), "vm-1") is not None


@given(st.binary(max_size=200), st.integers(0, 20))
async def test_no_bytes_crash_the_link(raw: bytes, stream_id: int) -> None:
    """S1-4"""
    link = await Link.running()

    for packed in (raw, StreamFrame(stream_id, raw).pack(), StreamFrame(stream_id, frame(DATA, raw)).pack()):
        try:
            await link.conversation.take(packed)
        except (DecodeError, LinkRefused):
            pass


@given(st.integers(1, 9999))
def test_attempts_are_told_apart_by_their_message_ids(attempt: int) -> None:
    named = command_of_message(message_id("c-1", attempt))

    assert named == ("c-1", attempt)


def test_result_is_json_whatever_the_client_sent() -> None:
    assert json_text(b'{"ok": true}') == b'{"ok": true}'
    assert json_text("ünicode".encode()) == '"ünicode"'.encode()
    assert json_text(b"\xff") == b'"/w=="'
    assert json_text(b"") == b""
    assert json_text(b'{"a": "\xff"}') == b'"eyJhIjogIv8ifQ=="'
    assert json.loads(json_text(b"[" * 100_000)) == "[" * 100_000
