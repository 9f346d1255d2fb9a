"""What a DeepFlow agent says, and what its link makes of it. Messages are packed by hand."""

import asyncio
import hashlib

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.connection import ConnectionLost
from quarterdeck.gateway.foreign.command import ForeignCommand, Phase
from quarterdeck.gateway.foreign.deepflow import DeepflowConversation
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from quarterdeck.wire.deepflow import agent_pb2 as df
from tests.conformance.handpacked import Message, integer, nested, octets, pack, text
from tests.unit.gateway.foreign.recording import RecordingDesk, SentFrames, written_command

NAME = nested(1, text(1, "10.0.0.7"), text(2, "aa:bb:cc:dd:ee:07"))
HEARTBEAT_ANSWER = pack(integer(1, 0))


class SlowConnection(SentFrames):
    """Sends while `reads` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()
        self.reads.set()
        self.lost = False

    async def send(self, frame: bytes) -> None:
        await self.reads.wait()
        if self.lost:
            raise ConnectionLost("gone")
        await super().send(frame)


class Link:
    """A conversation whose agent has named itself."""

    def __init__(self, *commands: ForeignCommand) -> None:
        self.desk = RecordingDesk(*commands)
        self.connection = SlowConnection()
        record = AgentRecord(tenant="acme", agent_id="a1", name="a1")
        first = df.RemoteExecResponse.FromString(NAME)
        self.conversation = DeepflowConversation(self.connection, record, first)
        self.conversation.bind(self.desk)

    async def says(self, request_id: int, *fields: bytes, name: bytes = NAME) -> None:
        await self.conversation.take(pack(name, integer(2, request_id), *fields))

    async def prints(self, request_id: int, content: bytes, *fields: bytes) -> None:
        """The last chunk, with its MD5."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        await self.says(request_id, nested(6, octets(2, content), text(3, md5)), *fields)

    async def wrote(self, count: int) -> list[Message]:
        """The frames, once `count` of them were written or every writer waits."""
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(self.connection.frames) == count
        return [Message(frame) for frame in self.connection.frames]


def catalogue(command_id: str = "c-1", payload: bytes = b'{"ident": "ps"}') -> ForeignCommand:
    return written_command(command_id, spec=native.CommandSpec(command_type="catalogue", payload=payload))


def listing(command_type: str) -> ForeignCommand:
    return written_command(command_type, spec=native.CommandSpec(command_type=command_type, payload=b"{}"))


async def test_first_response_is_answered_once_the_link_stands() -> None:
    """S1-2, S1-12: nothing is sent before."""
    link = Link()
    await link.wrote(0)

    await link.conversation.welcome()

    await link.wrote(1)
    assert link.connection.frames == [HEARTBEAT_ANSWER]
    assert link.desk.told == [("heartbeat",)]


async def test_requests_are_numbered_from_two_on() -> None:
    """S1-21"""
    link = Link()
    for command in (catalogue("c-1"), listing("list_commands"), listing("list_namespaces")):
        await link.conversation.write_order(command)

    run, commands, namespaces = await link.wrote(3)
    assert [message.integer(1) for message in (run, commands, namespaces)] == [2, 3, 4]
    assert [message.integer(2) for message in (run, commands, namespaces)] == [2, 0, 1]
    assert commands.has(2)


async def test_catalogue_command_is_written_with_its_parameters() -> None:
    """S1-8"""
    payload = b'{"ident": "ps", "params": {"pid": "17", "user": "root"}, "linux_ns_pid": 4711}'
    link = Link()

    await link.conversation.write_order(catalogue(payload=payload))

    [request] = await link.wrote(1)
    params = [Message(raw) for raw in request.every(4)]
    assert request.text(7) == "ps"
    assert [(param.text(1), param.text(2)) for param in params] == [("pid", "17"), ("user", "root")]
    assert request.integer(5) == 4711
    assert request.integer(6) == 256 * 1024


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b'{"ident": 7}',
        b'{"ident": "ps", "params": ["x"]}',
        b'{"ident": "\xff"}',
    ],
)
async def test_payload_that_is_none_fails_before_anything_is_sent(payload: bytes) -> None:
    command = catalogue(payload=payload)
    link = Link(command)

    await link.conversation.write_order(command)

    await link.wrote(0)
    [(kind, _, end, reason, *_)] = link.desk.told
    assert (kind, end, reason) == ("finished", CommandState.FAILED, "invalid_payload")


@pytest.mark.parametrize(
    ("spec", "guest"),
    [
        (native.CommandSpec(command_type="shell", payload=b'{"command": "ps"}'), ""),
        (native.CommandSpec(command_type="script"), ""),
        (native.CommandSpec(command_type="exec"), ""),
        (native.CommandSpec(command_type="restart"), ""),
        (native.CommandSpec(command_type="catalogue", working_directory="/srv"), ""),
        (native.CommandSpec(command_type="catalogue", env={"A": "b"}), ""),
        (native.CommandSpec(command_type="catalogue"), "guest-1"),
    ],
)
def test_what_the_protocol_has_no_words_for_is_refused(spec: native.CommandSpec, guest: str) -> None:
    """S1-25"""
    assert Link().conversation.refusal(spec, guest)


@pytest.mark.parametrize("command_type", ["catalogue", "list_commands", "list_namespaces"])
def test_what_it_has_words_for_is_taken(command_type: str) -> None:
    assert Link().conversation.refusal(native.CommandSpec(command_type=command_type), "") is None


def test_refusal_of_a_shell_names_what_to_use_instead() -> None:
    refusal = Link().conversation.refusal(native.CommandSpec(command_type="shell"), "")
    assert refusal is not None
    assert "catalogue" in refusal


async def test_chunks_become_output_as_they_come() -> None:
    """S1-7, S1-20"""
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)

    await link.says(2, nested(6, octets(2, b"one "), integer(4, 7)))
    assert link.desk.told == [("output", "c-1", OutputStream.STDOUT, b"one ", None)]

    md5 = hashlib.md5(b"one two", usedforsecurity=False).hexdigest()
    await link.says(2, nested(6, octets(2, b"two"), text(3, md5), integer(4, 7)))
    assert link.desk.told[1:] == [
        ("output", "c-1", OutputStream.STDOUT, b"two", None),
        ("finished", "c-1", CommandState.SUCCEEDED, "", "", 0),
    ]


async def test_lists_are_answered_beside_a_running_command() -> None:
    """S1-9, S1-10"""
    command, commands, namespaces = catalogue(), listing("list_commands"), listing("list_namespaces")
    link = Link(command, commands, namespaces)
    for each in (command, commands, namespaces):
        await link.conversation.write_order(each)

    await link.says(4, nested(5, integer(1, 1)))
    await link.says(3, nested(4, text(6, "ps")))
    await link.prints(2, b"done")

    ends = [told[1:3] for told in link.desk.told if told[0] == "finished"]
    assert ends == [
        ("list_namespaces", CommandState.SUCCEEDED),
        ("list_commands", CommandState.SUCCEEDED),
        ("c-1", CommandState.SUCCEEDED),
    ]


async def test_response_with_nothing_in_it_is_an_empty_list_where_a_list_was_asked_for() -> None:
    """S1-10"""
    command = listing("list_namespaces")
    link = Link(command)
    await link.conversation.write_order(command)

    await link.says(0)
    await link.says(2)

    assert [told[0] for told in link.desk.told] == ["heartbeat", "finished"]


async def test_response_with_nothing_in_it_does_not_end_a_command() -> None:
    """S1-12"""
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)

    await link.says(2)

    assert link.desk.told == [("heartbeat",)]


async def test_flood_of_heartbeats_has_one_answer_under_way() -> None:
    """S1-12, S1-16, S1-19"""
    command = catalogue()
    link = Link(command)
    link.connection.reads.clear()

    for _ in range(10_000):
        await link.says(0)
    writing = asyncio.create_task(link.conversation.write_order(command))
    await link.wrote(0)
    link.connection.reads.set()
    await writing

    answer, order = await link.wrote(2)
    assert answer.integer(1) == 0
    assert order.integer(1) == 2
    assert link.desk.told == [("heartbeat",)] * 10_000


async def test_answer_to_a_heartbeat_that_finds_nobody_breaks_nothing() -> None:
    """S1-17: whoever reads the connection learns how it ended."""
    link = Link()
    link.connection.lost = True

    await link.says(0)
    await link.wrote(0)
    await link.says(0)

    await link.wrote(0)
    assert link.desk.told == [("heartbeat",)] * 2


async def test_stop_abandons_the_command_and_fences_what_comes_late() -> None:
    """S1-18"""
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)

    await link.conversation.write_terminate(command)
    await link.prints(2, b"too late")

    assert link.desk.told == [("abandon", "c-1", "agent may still run it"), ("fenced", "a late answer")]
    await link.wrote(1)


@pytest.mark.parametrize("request_id", [0, 1, 3, 2**64 - 1])
async def test_answer_to_no_request_is_fenced(request_id: int) -> None:
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)

    await link.prints(request_id, b"from elsewhere")

    assert link.desk.told == [("fenced", "an answer to no request")]


async def test_answer_after_the_end_is_fenced() -> None:
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)
    await link.prints(2, b"done")

    await link.prints(2, b"and more")

    assert link.desk.told[-1] == ("fenced", "a late answer")
    assert [told[0] for told in link.desk.told] == ["output", "finished", "fenced"]


async def test_answer_of_a_command_that_ended_otherwise_is_fenced() -> None:
    """S1-16: nothing is kept of it."""
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)
    command.phase = Phase.ENDED

    await link.prints(2, b"too late")

    assert link.desk.told == [("fenced", "a late answer")]


async def test_md5_that_differs_fails_the_command() -> None:
    """S1-8"""
    command = catalogue()
    link = Link(command)
    await link.conversation.write_order(command)

    await link.says(2, nested(6, octets(2, b"content"), text(3, "0" * 32)))

    assert link.desk.told[-1][2:4] == (CommandState.FAILED, "md5_mismatch")


async def test_response_in_another_name_ends_the_link() -> None:
    """S1-28"""
    other = nested(1, text(1, "10.0.0.8"), text(2, "aa:bb:cc:dd:ee:07"))
    with pytest.raises(LinkRefused) as refused:
        await Link().says(0, name=other)
    assert refused.value.reason == LinkEnd.UNAUTHENTICATED


async def test_response_without_a_name_is_the_links() -> None:
    link = Link()
    await link.says(0, name=b"")
    assert link.desk.told == [("heartbeat",)]


async def test_bytes_that_are_no_message_end_the_link() -> None:
    """S1-17"""
    with pytest.raises(LinkRefused) as refused:
        await Link().conversation.take(b"\xff\xff\xff")
    assert refused.value.reason == LinkEnd.UNDECODABLE


async def test_debug_log_shows_messages_without_what_was_said() -> None:
    """S1-23, S1-24"""
    command = catalogue(payload=b'{"ident": "login", "params": {"password": "hunter2"}}')
    link = Link(command)
    with capture_logs() as logged:
        await link.conversation.write_order(command)
        await link.prints(2, b"the content", text(3, "the errmsg"))

    written, taken = logged
    assert written["event"] == "gateway.deepflow_request_written"
    assert written["request"]["exec_type"] == "RUN_COMMAND"
    assert written["request"]["params"] == ["password"]
    assert taken["event"] == "gateway.deepflow_response_taken"
    assert taken["response"]["command_result"]["content_bytes"] == len(b"the content")
    for secret in ("hunter2", "the content", "the errmsg"):
        assert secret not in str(logged)
