"""The pieces of the NATS protocol that we write and read ourselves."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.bus.messages import parse_ack_reply, stream_of
from quarterdeck.core.bus.wire import check_publishable, encode_publish, parse_headers

TOKENS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=10)
NAMES = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20)
VALUES = st.text(string.ascii_letters + string.punctuation, max_size=30)


@given(subject=TOKENS, body=st.binary(max_size=100), headers=st.dictionaries(NAMES, st.text(max_size=50)))
def test_message_is_one_command_whatever_its_headers_hold(
    subject: str, body: bytes, headers: dict[str, str]
) -> None:
    """S0-28: a line break in a value cannot become a second command."""
    command = encode_publish(subject, body, "reply", headers)

    line, rest = command.split(b"\r\n", 1)
    if not headers:
        assert line == b"PUB %b reply %d" % (subject.encode(), len(body))
        assert rest == body + b"\r\n"
        return
    verb, to, reply, header_bytes, total_bytes = line.split(b" ")
    assert (verb, to, reply) == (b"HPUB", subject.encode(), b"reply")
    assert len(rest) == int(total_bytes) + 2
    block = rest[: int(header_bytes)]
    assert block.endswith(b"\r\n\r\n")
    assert block.count(b"\r\n") == len(headers) + 2
    assert rest[int(header_bytes) :] == body + b"\r\n"


@given(headers=st.dictionaries(NAMES, VALUES, min_size=1))
def test_headers_come_back_as_they_were(headers: dict[str, str]) -> None:
    command = encode_publish("subject", b"", "", headers)

    assert parse_headers(command.split(b"\r\n", 1)[1]) == headers


@given(block=st.binary(max_size=200))
def test_any_header_block_is_parsed(block: bytes) -> None:
    """Every decoder is fuzzed."""
    assert isinstance(parse_headers(b"NATS/1.0" + block), dict)


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
        (
            b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n",
            {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "1"},
        ),
        (b"NATS/1.0\r\nA:1\r\nB:  2 \r\nnothing\r\n\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_status_lines_of_the_server_are_understood(block: bytes, headers: dict[str, str]) -> None:
    """Source: nats-server ADR-4 and ADR-13."""
    assert parse_headers(block) == headers


@pytest.mark.parametrize("subject", ["", " ", "a b", "a\tb", "a\r\nPUB b 0", "a.*", "a.>", "*"])
def test_subject_that_is_none_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="no subject"):
        check_publishable(subject)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb"])
def test_header_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no header name"):
        check_publishable("subject", {name: "value"})


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.QD_FEED.consumer.2.30.4.1700000000123456789.5",
        "$JS.ACK._.hash.QD_FEED.consumer.2.30.4.1700000000123456789.5.random",
    ],
)
def test_both_forms_of_ack_subjects_are_understood(reply: str) -> None:
    """Source: nats-server ADR-15."""
    assert parse_ack_reply(reply) == (2, 30, 4, 1_700_000_000_123, 5)
    assert stream_of(reply) == "QD_FEED"
