"""Golden frames of our own protocol: bytes packed by hand from the field numbers, against the generated code.

An agent of an older release speaks these very bytes. A number that changes here is a new version of the protocol.
"""

from typing import Any

import pytest
from google.protobuf.message import Message as Generated

from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.conformance.handpacked import integer, nested, octets, pack, text

_EPOCH = pack(integer(1, 1_795_000_000), integer(2, 7))
_ENDED = pack(integer(1, 5), octets(2, b"\xaa\xbb"), integer(3, 9))
_REPORT = (integer(1, 300), text(2, "c-1"), integer(3, 2), integer(4, 1_700_000_000_123))
"""report_seq, command_id, attempt, at_ms: how every report begins."""
_TOLD: dict[str, Any] = {"report_seq": 300, "command_id": "c-1", "attempt": 2, "at_ms": 1_700_000_000_123}

FROM_AGENT: list[tuple[bytes, pb.AgentMessage]] = [
    (
        nested(1, text(1, "s"), text(2, "web-1"), text(3, "Web one"), octets(4, b"k"), octets(5, b"sig")),
        pb.AgentMessage(
            enrol=pb.Enrol(
                join_secret="s", agent_id="web-1", name="Web one", public_key=b"k", signature=b"sig"
            )
        ),
    ),
    (
        nested(
            2,
            text(1, "web-1"),
            octets(2, b"sig"),
            text(3, "0.1.0"),
            nested(4, text(1, "env"), text(2, "prod")),
            nested(5, text(1, "os"), text(2, "linux")),
            text(6, "shell"),
            text(6, "exec"),
            text(7, "vm-1"),
            nested(
                8,
                text(1, "c-1"),
                integer(2, 2),
                integer(3, 3),
                text(4, "b-1"),
                integer(5, 70_000),
                integer(6, 1),
            ),
            text(9, "boot"),
            octets(10, _EPOCH),
            text(11, "acme"),
        ),
        pb.AgentMessage(
            hello=pb.Hello(
                agent_id="web-1",
                signature=b"sig",
                version="0.1.0",
                labels={"env": "prod"},
                facts={"os": "linux"},
                capabilities=["shell", "exec"],
                guests=["vm-1"],
                journal=[
                    pb.JournalEntry(
                        command_id="c-1",
                        attempt=2,
                        phase=pb.RUNNING,
                        batch_id="b-1",
                        stdout_offset=70_000,
                        stderr_offset=1,
                    )
                ],
                boot_id="boot",
                highest_epoch=pb.Epoch(incarnation=1_795_000_000, revision=7),
                tenant="acme",
            )
        ),
    ),
    (nested(3, integer(1, 12)), pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=12))),
    (nested(4, *_REPORT), pb.AgentMessage(accepted=pb.Accepted(**_TOLD))),
    (
        nested(5, *_REPORT, text(5, "overloaded"), text(6, "no room")),
        pb.AgentMessage(rejected=pb.Rejected(**_TOLD, reason="overloaded", error="no room")),
    ),
    (nested(6, *_REPORT), pb.AgentMessage(started=pb.Started(**_TOLD))),
    (
        nested(
            7,
            text(1, "c-1"),
            integer(2, 2),
            integer(3, 2),
            integer(4, 1 << 40),
            octets(5, b"\xff\x00\n"),
            integer(6, 12),
        ),
        pb.AgentMessage(
            output=pb.Output(
                command_id="c-1",
                attempt=2,
                stream=pb.STDERR,
                offset=1 << 40,
                chunk=b"\xff\x00\n",
                at_ms=12,
            )
        ),
    ),
    (
        nested(
            8,
            *_REPORT,
            integer(5, 11),
            integer(6, 4),
            text(7, "signal"),
            integer(8, 0),
            integer(9, -15),
            octets(10, b"{}"),
            text(11, "killed"),
            octets(12, _ENDED),
            octets(13, _ENDED),
            text(14, "00-trace"),
        ),
        pb.AgentMessage(
            result=pb.Result(
                report_seq=300,
                command_id="c-1",
                attempt=2,
                completed_at_ms=1_700_000_000_123,
                started_at_ms=11,
                end=pb.TERMINATED,
                reason="signal",
                exit_code=0,
                signal=-15,
                result=b"{}",
                error="killed",
                stdout=pb.StreamEnd(length=5, sha256=b"\xaa\xbb", truncated_bytes=9),
                stderr=pb.StreamEnd(length=5, sha256=b"\xaa\xbb", truncated_bytes=9),
                traceparent="00-trace",
            )
        ),
    ),
    (nested(9, *_REPORT), pb.AgentMessage(terminate_ack=pb.TerminateAck(**_TOLD))),
    (
        nested(10, integer(1, 3), octets(2, b"[]"), text(3, "no")),
        pb.AgentMessage(inventory_reply=pb.InventoryReply(request_id=3, items=b"[]", error="no")),
    ),
    (
        nested(11, text(1, "leaving"), text(2, "bye")),
        pb.AgentMessage(goodbye=pb.Goodbye(reason="leaving", message="bye")),
    ),
    (
        nested(12, text(1, "vm-1"), text(1, "vm-2")),
        pb.AgentMessage(guest_list=pb.GuestList(guests=["vm-1", "vm-2"])),
    ),
]

TO_AGENT: list[tuple[bytes, pb.GatewayMessage]] = [
    (
        nested(1, octets(1, b"n" * 32), text(2, "g-1")),
        pb.GatewayMessage(challenge=pb.Challenge(nonce=b"n" * 32, gateway_id="g-1")),
    ),
    (
        nested(2, text(1, "acme"), text(2, "web-1"), octets(3, b"issuer")),
        pb.GatewayMessage(enrolled=pb.Enrolled(tenant="acme", agent_id="web-1", issuer_key=b"issuer")),
    ),
    (
        nested(
            3,
            octets(1, _EPOCH),
            integer(2, 15_000),
            integer(3, 4 << 20),
            integer(4, 2 << 20),
            integer(5, 99),
            text(6, "acme"),
            nested(7, text(1, "c-1"), integer(2, 2), integer(3, 1), integer(4, 70_000), integer(5, 1)),
        ),
        pb.GatewayMessage(
            welcome=pb.Welcome(
                epoch=pb.Epoch(incarnation=1_795_000_000, revision=7),
                heartbeat_interval_ms=15_000,
                max_frame_bytes=4 << 20,
                window_bytes=2 << 20,
                server_time_ms=99,
                tenant="acme",
                output_acks=[
                    pb.OutputAck(command_id="c-1", attempt=2, stream=pb.STDOUT, offset=70_000, resend=True)
                ],
            )
        ),
    ),
    (
        nested(
            4,
            text(1, "c-1"),
            integer(2, 2),
            octets(3, _EPOCH),
            octets(4, b"spec"),
            integer(5, 60_000),
            text(6, "vm-1"),
            text(7, "00-trace"),
            text(8, "b-1"),
            text(10, "key"),
            octets(11, b"root"),
            octets(12, b"left"),
            octets(12, b"right"),
            integer(13, 3),
            integer(14, 1),
            integer(15, 2),
            octets(16, b"once"),
        ),
        pb.GatewayMessage(
            order=pb.Order(
                command_id="c-1",
                attempt=2,
                epoch=pb.Epoch(incarnation=1_795_000_000, revision=7),
                spec=b"spec",
                timeout_ms=60_000,
                guest="vm-1",
                traceparent="00-trace",
                batch_id="b-1",
                key_id="key",
                root_signature=b"root",
                merkle_path=[b"left", b"right"],
                leaf_index=3,
                not_before_ms=1,
                expires_ms=2,
                nonce=b"once",
            )
        ),
    ),
    (
        nested(5, text(1, "c-1"), integer(2, 2), integer(3, 5_000), text(10, "key"), octets(11, b"sig")),
        pb.GatewayMessage(
            terminate=pb.Terminate(
                command_id="c-1", attempt=2, grace_ms=5_000, key_id="key", signature=b"sig"
            )
        ),
    ),
    (
        nested(6, octets(1, b"\x01\xac\x02")),  # repeated numbers are packed: 1, 300
        pb.GatewayMessage(report_ack=pb.ReportAck(report_seq=[1, 300])),
    ),
    (
        nested(7, text(1, "c-1"), integer(2, 2), integer(3, 2), integer(4, 5)),
        pb.GatewayMessage(output_ack=pb.OutputAck(command_id="c-1", attempt=2, stream=pb.STDERR, offset=5)),
    ),
    (nested(8, integer(1, 1024)), pb.GatewayMessage(credit=pb.Credit(window_bytes=1024))),
    (
        nested(9, integer(1, 3), text(2, "guests")),
        pb.GatewayMessage(inventory_request=pb.InventoryRequest(request_id=3, kind="guests")),
    ),
    (nested(10, integer(1, 3_000)), pb.GatewayMessage(drain=pb.Drain(within_ms=3_000))),
    (nested(11, text(1, "replaced")), pb.GatewayMessage(goodbye=pb.Goodbye(reason="replaced"))),
    (
        nested(12, integer(1, 12), integer(2, 99)),
        pb.GatewayMessage(heartbeat_ack=pb.HeartbeatAck(at_ms=12, server_time_ms=99)),
    ),
]


@pytest.mark.parametrize(("raw", "message"), [*FROM_AGENT, *TO_AGENT])
def test_message_is_the_bytes_of_its_field_numbers(raw: bytes, message: Generated) -> None:
    """Both ways."""
    assert type(message).FromString(raw) == message
    assert message.SerializeToString(deterministic=True) == raw


def test_every_message_has_its_golden_bytes() -> None:
    """A member that is added is added here too."""
    told = {message.WhichOneof("body") for _, message in FROM_AGENT}
    heard = {message.WhichOneof("body") for _, message in TO_AGENT}

    assert told == set(pb.AgentMessage.DESCRIPTOR.fields_by_name)
    assert heard == set(pb.GatewayMessage.DESCRIPTOR.fields_by_name)


def test_frame_is_its_messages_in_their_order() -> None:
    """What was queued travels together."""
    first, second = FROM_AGENT[2], FROM_AGENT[-1]
    frame = pb.AgentFrame(messages=[first[1], second[1]])

    assert frame.SerializeToString() == nested(1, first[0]) + nested(1, second[0])
    assert pb.GatewayFrame.FromString(nested(1, TO_AGENT[0][0])).messages[0] == TO_AGENT[0][1]


def test_command_is_the_bytes_of_its_field_numbers() -> None:
    """The part of an order that is packed once for all agents that get it."""
    spec = pb.CommandSpec(
        command_type="shell",
        payload=b"{}",
        working_directory="/srv",
        env={"A": "1"},
        no_output_timeout_ms=1,
        grace_ms=2,
        priority=10,
        max_output_bytes=1 << 33,
    )
    raw = pack(
        text(1, "shell"),
        octets(2, b"{}"),
        text(3, "/srv"),
        nested(4, text(1, "A"), text(2, "1")),
        integer(5, 1),
        integer(6, 2),
        integer(7, 10),
        integer(8, 1 << 33),
    )

    assert pb.CommandSpec.FromString(raw) == spec
    assert spec.SerializeToString(deterministic=True) == raw


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (pb.Phase, {"PHASE_UNSPECIFIED": 0, "RECEIVED": 1, "STARTING": 2, "RUNNING": 3, "EXITED": 4}),
        (pb.Stream, {"STREAM_UNSPECIFIED": 0, "STDOUT": 1, "STDERR": 2}),
        (
            pb.End,
            {
                "END_UNSPECIFIED": 0,
                "SUCCEEDED": 1,
                "FAILED": 2,
                "TIMED_OUT": 3,
                "TERMINATED": 4,
                "OUTCOME_UNKNOWN": 5,
            },
        ),
    ],
)
def test_enumeration_keeps_its_numbers(enum: object, values: dict[str, int]) -> None:
    assert dict(enum.items()) == values  # type: ignore[attr-defined]  # generated
