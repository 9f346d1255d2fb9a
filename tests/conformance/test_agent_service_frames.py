"""Golden frames of agent_service: bytes packed by hand from the field numbers, against the code made from our proto."""

import pytest
from google.protobuf.message import Message as Generated

from quarterdeck.wire.agent_service import agent_service_pb2 as pb
from tests.conformance.handpacked import Message, integer, nested, octets, pack, text

_HANDSHAKE = pack(
    text(1, "hint"),
    text(2, "1.2.3"),
    text(3, "linux"),
    text(4, "Debian"),
    text(5, "x86_64"),
    text(6, "web-1"),
    text(7, "192.0.2.1"),
    text(7, "2001:db8::1"),
    text(8, "6.1.0"),
    text(9, "12"),
    text(10, "Debian GNU/Linux 12"),
    text(11, "debian"),
)

TO_SERVER: list[tuple[bytes, pb.MessageToServer]] = [
    (
        nested(2, _HANDSHAKE),
        pb.MessageToServer(
            agent_handshake=pb.AgentHandshake(
                agent_id_hint="hint",
                agent_version="1.2.3",
                os_type="linux",
                os_name="Debian",
                arch="x86_64",
                hostname="web-1",
                public_ip_addresses=["192.0.2.1", "2001:db8::1"],
                kernel_version="6.1.0",
                os_version_detail="12",
                long_os_version="Debian GNU/Linux 12",
                distribution_id="debian",
            )
        ),
    ),
    *(
        (nested(number), pb.MessageToServer(**{name: pb.Ignored()}))  # type: ignore[arg-type]  # one of the oneof
        for number, name in (
            (3, "performance_batch"),
            (4, "docker_batch"),
            (5, "generic_metrics_batch"),
            (6, "command_response"),
            (7, "pty_data_to_server"),
            (11, "static_system_info"),
            (12, "update_config_response"),
            (15, "service_monitor_result"),
        )
    ),
    (
        nested(13, text(1, "c-1"), integer(2, 2), octets(3, b"\xff\x00\n"), integer(4, 1_700_000_000_123)),
        pb.MessageToServer(
            batch_command_output_stream=pb.BatchCommandOutputStream(
                command_id="c-1", stream_type=pb.STDERR, chunk=b"\xff\x00\n", timestamp=1_700_000_000_123
            )
        ),
    ),
    (
        nested(14, text(1, "c-1"), integer(2, 3), integer(3, -9), text(4, "terminated")),
        pb.MessageToServer(
            batch_command_result=pb.BatchCommandResult(
                command_id="c-1", status=pb.TERMINATED, exit_code=-9, error_message="terminated"
            )
        ),
    ),
    (
        nested(16, text(1, "c-1")),
        pb.MessageToServer(agent_accepted=pb.AgentAccepted(command_id="c-1")),
    ),
]

TO_AGENT: list[tuple[bytes, pb.MessageToAgent]] = [
    (
        nested(2, integer(1, 1), text(2, "no"), nested(4), text(5, "new"), integer(6, 1_700_000_000_123)),
        pb.MessageToAgent(
            server_handshake_ack=pb.ServerHandshakeAck(
                authentication_successful=True,
                error_message="no",
                initial_config=pb.Ignored(),
                new_agent_secret="new",
                server_time_unix_ms=1_700_000_000_123,
            )
        ),
    ),
    *(
        (nested(number), pb.MessageToAgent(**{name: pb.Ignored()}))  # type: ignore[arg-type]  # one of the oneof
        for number, name in (
            (4, "command_request"),
            (5, "pty_data_to_agent"),
            (7, "update_config_request"),
            (10, "trigger_update_check"),
        )
    ),
    (
        nested(8, text(1, "c-1"), integer(2, 2), text(3, "uptime"), text(4, "/srv"), integer(5, 30)),
        pb.MessageToAgent(
            batch_agent_command_request=pb.BatchAgentCommandRequest(
                command_id="c-1",
                type=pb.SAVED_SCRIPT,
                content="uptime",
                working_directory="/srv",
                timeout_seconds=30,
            )
        ),
    ),
    (
        nested(9, text(1, "c-1")),
        pb.MessageToAgent(batch_terminate_command_request=pb.BatchTerminateCommandRequest(command_id="c-1")),
    ),
]


@pytest.mark.parametrize(("payload", "message"), TO_SERVER)
def test_messages_to_the_server_are_the_bytes_of_the_field_numbers(
    payload: bytes, message: pb.MessageToServer
) -> None:
    """S4-7"""
    message = pb.MessageToServer.FromString(message.SerializeToString())
    message.client_message_id, message.vps_db_id, message.agent_secret = 5, 7, "s3cret"
    packed = pack(integer(1, 5), integer(9, 7), text(10, "s3cret"), payload)

    _same(packed, message)


@pytest.mark.parametrize(("payload", "message"), TO_AGENT)
def test_messages_to_the_agent_are_the_bytes_of_the_field_numbers(
    payload: bytes, message: pb.MessageToAgent
) -> None:
    """S4-7"""
    message = pb.MessageToAgent.FromString(message.SerializeToString())
    message.server_message_id = 5

    _same(pack(integer(1, 5), payload), message)


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (pb.CommandType, {"COMMAND_TYPE_UNSPECIFIED": 0, "ADHOC_COMMAND": 1, "SAVED_SCRIPT": 2}),
        (pb.OutputType, {"OUTPUT_TYPE_UNSPECIFIED": 0, "STDOUT": 1, "STDERR": 2}),
        (
            pb.CommandStatus,
            {"COMMAND_STATUS_UNSPECIFIED": 0, "SUCCESS": 1, "FAILURE": 2, "TERMINATED": 3},
        ),
    ],
)
def test_enumerations_have_the_numbers_of_the_document(enum: object, values: dict[str, int]) -> None:
    """S4-7"""
    assert dict(enum.items()) == values  # type: ignore[attr-defined]  # generated


def test_members_of_a_newer_protocol_are_no_error() -> None:
    """S4-7: unknown members are ignored."""
    packed = pack(integer(9, 7), text(10, "s3cret"), nested(99, text(1, "later")))

    message = pb.MessageToServer.FromString(packed)

    assert message.WhichOneof("payload") is None
    assert (message.vps_db_id, message.agent_secret) == (7, "s3cret")


def test_an_id_of_another_type_is_no_id() -> None:
    """A vps_db_id that comes as text is not there at all, and so names nobody."""
    assert pb.MessageToServer.FromString(pack(text(9, "7"))).vps_db_id == 0


def _same(packed: bytes, message: Generated) -> None:
    """Both ways, and the codec by hand reads what the generated code writes."""
    parsed = type(message).FromString(packed)
    assert parsed == message
    assert sorted(Message(message.SerializeToString()).numbers()) == sorted(Message(packed).numbers())
    assert _ordered(message.SerializeToString()) == _ordered(packed)


def _ordered(raw: bytes) -> list[tuple[int, object]]:
    """Fields in the order of their numbers: a oneof member may be written before or after its neighbours."""
    message = Message(raw)
    return sorted(
        (number, message.every(number) or message.integer(number)) for number in set(message.numbers())
    )
