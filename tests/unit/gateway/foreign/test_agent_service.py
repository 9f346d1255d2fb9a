"""What an agent_service agent says, and what its link makes of it. Messages are packed by hand."""

import pytest

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import ManualClock
from quarterdeck.gateway.foreign.agent_service import AgentServiceConversation, _Proof, _Wire
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from tests.conformance.handpacked import Message, integer, nested, octets, pack, text
from tests.unit.gateway.foreign.recording import RecordingDesk, SentFrames, written_command

SUCCESS, FAILURE, TERMINATED = 1, 2, 3


class Link:
    """A conversation with agent 7, whose handshake is behind it."""

    def __init__(self, *commands: ForeignCommand) -> None:
        self.clock = ManualClock()
        self.desk = RecordingDesk(*commands)
        self.connection = SentFrames()
        record = AgentRecord(tenant="acme", agent_id="a1", name="a1", aliases={"agent_service": "7"})
        self.conversation = AgentServiceConversation(
            record, _Proof(7, b"s3cret"), _Wire(self.connection), self.clock
        )
        self.conversation.bind(self.desk)

    async def says(self, payload: bytes, *, vps_db_id: bytes = integer(9, 7), secret: str = "s3cret") -> None:
        await self.conversation.take(pack(integer(1, 1), vps_db_id, text(10, secret), payload))

    async def ends(self, status: int, exit_code: int = 0, error: str = "", command_id: str = "c-1") -> None:
        await self.says(
            nested(14, text(1, command_id), integer(2, status), integer(3, exit_code), text(4, error))
        )

    @property
    def sent(self) -> list[Message]:
        return [Message(frame) for frame in self.connection.frames]


async def test_order_is_written_with_all_that_the_agent_needs() -> None:
    """S4-7, S4-14, S4-29"""
    spec = native.CommandSpec(
        command_type="shell", payload=b'{"command": "uptime"}', working_directory="/srv"
    )
    command = written_command(timeout_ms=1500, spec=spec)
    link = Link(command)

    await link.conversation.write_order(command)

    [message] = link.sent
    assert message.integer(1) == 1
    order = message.nested(8)
    assert (order.text(1), order.integer(2), order.text(3)) == ("c-1", 1, "uptime")
    assert (order.text(4), order.integer(5)) == ("/srv", 2)


async def test_messages_to_the_agent_are_numbered() -> None:
    """S4-7"""
    command = written_command()
    link = Link(command)

    await link.conversation.welcome()
    await link.conversation.write_order(command)
    await link.conversation.write_terminate(command)

    assert [message.integer(1) for message in link.sent] == [1, 2, 3]
    assert [message.numbers()[-1] for message in link.sent] == [2, 8, 9]
    assert link.sent[0].nested(2).integer(6) == link.clock.now_ms()
    assert link.sent[2].nested(9).text(1) == "c-1"


async def test_acceptance_output_and_result_are_told() -> None:
    """S4-16F, S4-17, S4-18"""
    link = Link(written_command())

    await link.says(nested(16, text(1, "c-1")))
    await link.says(nested(13, text(1, "c-1"), integer(2, 1), octets(3, b"\xff\x00"), integer(4, 1234)))
    await link.says(nested(13, text(1, "c-1"), integer(2, 2), octets(3, b"oops")))
    await link.ends(SUCCESS)

    assert link.desk.told == [
        ("accepted", "c-1"),
        ("output", "c-1", OutputStream.STDOUT, b"\xff\x00", 1234),
        ("output", "c-1", OutputStream.STDERR, b"oops", None),
        ("finished", "c-1", CommandState.SUCCEEDED, "", "", 0),
    ]


@pytest.mark.parametrize(
    ("status", "exit_code", "error", "told"),
    [
        (SUCCESS, 0, "", (CommandState.SUCCEEDED, "", "", 0)),
        (FAILURE, 3, "", (CommandState.FAILED, "", "", 3)),
        (FAILURE, -1, "killed", (CommandState.FAILED, "", "killed", -1)),
        (FAILURE, 0, "cannot start", (CommandState.FAILED, "", "cannot start", None)),
        (FAILURE, 0, "file not found", (CommandState.FAILED, "", "file not found", None)),
        (TERMINATED, 0, "stopping", (CommandState.TERMINATED, "agent_stopped", "stopping", None)),
    ],
)
async def test_status_of_a_result_is_the_end(
    status: int, exit_code: int, error: str, told: tuple[object, ...]
) -> None:
    """S4-18, S4-30"""
    link = Link(written_command())

    await link.ends(status, exit_code, error)

    assert link.desk.told == [("finished", "c-1", *told)]


async def test_failure_after_its_time_is_a_timeout() -> None:
    """S4-29: an agent that keeps the timeout has no status for it."""
    command = written_command(timeout_ms=1000)
    link = Link(command)
    await link.conversation.write_order(command)

    link.clock.advance(1000)
    await link.ends(FAILURE, -9, "timed out after 1 s")

    assert link.desk.told == [
        ("finished", "c-1", CommandState.TIMED_OUT, "execution", "timed out after 1 s", -9)
    ]


async def test_failure_within_its_time_is_a_failure() -> None:
    command = written_command(timeout_ms=1000)
    link = Link(command)
    await link.conversation.write_order(command)

    link.clock.advance(999)
    await link.ends(FAILURE, 1)

    assert link.desk.told == [("finished", "c-1", CommandState.FAILED, "", "", 1)]


async def test_command_that_is_not_found_is_asked_for_once_more() -> None:
    """S4-28: the agent may be about to start it, or its result may be behind this answer."""
    command = written_command()
    link = Link(command)
    await link.conversation.write_order(command)
    command.stop_asked = True

    await link.ends(FAILURE, 0, "not found")

    assert link.desk.told == []
    assert link.sent[-1].nested(9).text(1) == "c-1"
    await link.ends(SUCCESS)
    await link.ends(FAILURE, 0, "not found")
    assert link.desk.told == [
        ("finished", "c-1", CommandState.SUCCEEDED, "", "", 0),
        ("fenced", "a result for a command that does not run here"),
    ]


async def test_command_that_is_not_found_twice_ended_nobody_knows_how() -> None:
    """S4-28"""
    command = written_command()
    link = Link(command)
    await link.conversation.write_order(command)
    command.stop_asked = True

    await link.ends(FAILURE, 0, "Not found: c-1")
    await link.ends(FAILURE, 0, "Not found: c-1")

    assert link.desk.told == [
        ("finished", "c-1", CommandState.OUTCOME_UNKNOWN, "not_proven", "Not found: c-1", None)
    ]


@pytest.mark.parametrize(
    "payload",
    [
        nested(13, text(1, "c-2"), integer(2, 1), octets(3, b"x")),
        nested(14, text(1, "c-2"), integer(2, SUCCESS)),
        nested(16, text(1, "c-2")),
        nested(13, text(1, "c-1"), octets(3, b"x")),
        nested(13, text(1, "c-1"), integer(2, 9), octets(3, b"x")),
        nested(14, text(1, "c-1")),
        nested(14, text(1, "c-1"), integer(2, 9)),
        nested(14),
    ],
)
async def test_what_belongs_to_no_command_or_means_nothing_is_fenced(payload: bytes) -> None:
    """S4-36: the command it names, if any, goes on."""
    link = Link(written_command())

    await link.says(payload)

    assert [kind for kind, *_ in link.desk.told] == ["fenced"]
    assert link.desk.find("c-1") is not None


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 11, 12, 15, 99])
async def test_members_for_other_purposes_are_signs_of_life(number: int) -> None:
    """S4-7, S1-3"""
    link = Link()

    await link.says(nested(number, octets(1, b"\xff\xfe")))

    assert link.desk.told == [("heartbeat",)]


@pytest.mark.parametrize(
    ("vps_db_id", "secret"),
    [
        (integer(9, 8), "s3cret"),
        (integer(9, 7), "guess"),
        (integer(9, 7), ""),
        (text(9, "7"), "s3cret"),
        (b"", "s3cret"),
    ],
)
async def test_every_message_must_carry_id_and_secret(vps_db_id: bytes, secret: str) -> None:
    """S0-27, S4-7"""
    link = Link(written_command())

    with pytest.raises(LinkRefused) as refused:
        await link.says(nested(14, text(1, "c-1"), integer(2, SUCCESS)), vps_db_id=vps_db_id, secret=secret)

    assert refused.value.reason == LinkEnd.UNAUTHENTICATED
    assert link.desk.told == []


async def test_second_handshake_breaks_the_protocol() -> None:
    link = Link()

    with pytest.raises(LinkRefused) as refused:
        await link.says(nested(2, text(2, "1.2.3")))

    assert refused.value.reason == LinkEnd.PROTOCOL


@pytest.mark.parametrize(("reason", "acks"), [("unauthenticated", 1), ("revoked", 1), ("draining", 0)])
async def test_an_agent_that_may_not_come_back_is_told_so(reason: str, acks: int) -> None:
    link = Link()

    await link.conversation.goodbye(reason)

    assert [message.nested(2).integer(1) for message in link.sent] == [0] * acks
    assert [message.nested(2).text(2) for message in link.sent] == [reason] * acks


async def test_refusal_names_what_the_protocol_lacks() -> None:
    link = Link()

    assert link.conversation.refusal(native.CommandSpec(command_type="restart"), "") is not None
    assert (
        link.conversation.refusal(
            native.CommandSpec(command_type="exec", payload=b'{"argv": ["id"]}'),
            "",
        )
        is None
    )
