"""Golden frames of quicflow: bytes packed by hand against the generated code, in both directions.

The hex is written out, so that a change of a field number or type, ours or the hand-made codec's, is seen at once.
"""

import pytest

from quarterdeck.wire import quicflow
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.framing import encode
from tests.conformance.handpacked import integer, octets, pack, text

PING = pack(integer(1, 1), octets(2, text(1, "client-001")), integer(3, 1_700_000_000_000))
PONG = pack(integer(1, 2), octets(2, integer(1, 1_700_000_000_000)), integer(3, 1_700_000_000_000))
COMMAND = pack(
    text(1, "c-1"),
    text(2, "server"),
    text(3, "client-001"),
    integer(4, 1),
    octets(5, b'{"command_type":"restart","payload":{"delay_seconds":5}}'),
    integer(6, 1),
    integer(7, 1_700_000_000_000),
)
DATA = pack(integer(1, 3), octets(2, COMMAND), integer(3, 1_700_000_000_000))
ANSWER = pack(text(1, "c-1"), integer(2, 2), octets(3, b"{}"), text(4, "no"))
ACK = pack(integer(1, 4), octets(2, ANSWER), integer(3, 5))

AT_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("packed", "hexadecimal"),
    [
        (PING, "0801120c0a0a636c69656e742d3030311880d095ffbc31"),
        (PONG, "080212070880d095ffbc311880d095ffbc31"),
        (ACK, "0804120f0a03632d3110021a027b7d22026e6f1805"),
    ],
    ids=["PING", "PONG", "ACK"],
)
def test_hand_made_frames_are_the_bytes_of_the_field(packed: bytes, hexadecimal: str) -> None:
    assert packed.hex() == hexadecimal


def test_what_we_send_is_what_the_field_sends() -> None:
    """S0-7: the CommandPayload inside the DataMessage, to the byte."""
    message = quicflow.command("c-1", "client-001", "restart", b'{"delay_seconds":5}', AT_MS)

    assert quicflow.ping("client-001", AT_MS) == PING
    assert quicflow.pong(AT_MS) == PONG
    assert quicflow.data(message) == DATA
    answer = pb.AckMessage(msg_id="c-1", status=pb.ACK_STATUS_FAILURE, result=b"{}", error="no")
    assert quicflow.ack(answer, 5) == ACK


def test_what_the_field_sends_is_understood() -> None:
    ping = quicflow.read_frame(PING)
    answer = quicflow.read_ack(quicflow.read_frame(ACK))
    message = quicflow.read_data(quicflow.read_frame(DATA))
    order = quicflow.read_command(message)

    assert (ping.type, quicflow.read_ping(ping).client_id, ping.timestamp) == (1, "client-001", AT_MS)
    assert (answer.msg_id, answer.status, answer.result, answer.error) == ("c-1", 2, b"{}", "no")
    assert (message.msg_id, message.sender_id, message.receiver_id) == ("c-1", "server", "client-001")
    assert (message.type, message.wait_ack, message.timestamp) == (1, True, AT_MS)
    assert (order.command_type, bytes(order.payload)) == ("restart", b'{"delay_seconds":5}')


def test_members_of_later_versions_are_skipped() -> None:
    later = quicflow.read_frame(PING + text(99, "from the future"))

    assert quicflow.read_ping(later).client_id == "client-001"


def test_length_goes_before_the_frame_in_four_bytes() -> None:
    assert encode(PING, quicflow.MAX_FRAME_BYTES) == b"\x00\x00\x00\x17" + PING
