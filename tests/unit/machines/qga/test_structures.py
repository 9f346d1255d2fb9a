"""S2-13, S2-14, S2-16, S2-18F: commands, their ends, and when to look."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.machines.qga.cadence import DEFAULT_CEILING_S, Cadence
from quarterdeck.machines.qga.structures import GuestExec, GuestExecStatus
from tests.effort import effort


def status(text: bytes) -> GuestExecStatus:
    return msgspec.json.decode(text, type=GuestExecStatus)


def test_simple_command_has_its_output_kept() -> None:
    """S2-13."""
    command = GuestExec.simple("/usr/bin/python3", ["-c", "print('Hello')"])

    assert command == GuestExec(
        path="/usr/bin/python3", arg=["-c", "print('Hello')"], env=None, input_data=None, capture_output=True
    )


def test_end_has_code_output_and_truncation() -> None:
    """S2-14, S2-16."""
    ended = status(
        b'{"exited": true, "exitcode": 3, "out-data": "aGkK", "out-truncated": true, "err-data": "w7w="}'
    )

    assert (ended.exited, ended.exit_code, ended.signal) == (True, 3, None)
    assert (ended.out_data, ended.decode_stdout(), ended.stdout) == ("aGkK", "hi\n", b"hi\n")
    assert (ended.err_data, ended.decode_stderr(), ended.stderr) == ("w7w=", "ü", b"\xc3\xbc")
    assert (ended.out_truncated, ended.err_truncated) == (True, None)
    assert not ended.succeeded


def test_end_by_a_signal_has_no_code() -> None:
    """S2-14."""
    ended = status(b'{"exited": true, "signal": 9}')

    assert (ended.exit_code, ended.signal, ended.succeeded) == (None, 9, False)


def test_nothing_printed_is_no_text() -> None:
    """S2-16."""
    ended = status(b'{"exited": true, "exitcode": 0}')

    assert (ended.decode_stdout(), ended.decode_stderr()) == (None, None)
    assert (ended.stdout, ended.stderr) == (b"", b"")
    assert ended.succeeded


def test_output_that_is_no_text_is_shown_and_kept() -> None:
    """S2-16."""
    ended = status(b'{"exited": true, "exitcode": 0, "out-data": "/w=="}')

    assert ended.decode_stdout() == "\N{REPLACEMENT CHARACTER}"
    assert ended.stdout == b"\xff"


def test_output_in_another_encoding_can_be_read() -> None:
    """S2-16."""
    ended = status(b'{"exited": true, "exitcode": 0, "out-data": "hA=="}')

    assert ended.decode_stdout("cp437") == "ä"


def test_output_that_is_no_base64_is_no_status() -> None:
    """S2-25F."""
    with pytest.raises(msgspec.ValidationError, match="base64"):
        status(b'{"exited": true, "exitcode": 0, "out-data": "not Base64"}')


@given(first_s=st.floats(0.0001, 1), factor=st.floats(1, 10_000))
@effort(100)
def test_looks_become_rarer_up_to_the_ceiling(first_s: float, factor: float) -> None:
    """S2-18F."""
    cadence = Cadence(first_s, first_s * factor)

    pauses = [cadence.next_s() for _ in range(60)]

    assert pauses[0] == first_s
    assert pauses == sorted(pauses)
    assert pauses[-1] == first_s * factor


def test_looks_are_half_a_second_apart_at_the_most() -> None:
    """S2-17."""
    cadence = Cadence()

    pauses = [cadence.next_s() for _ in range(100)]

    assert max(pauses) == DEFAULT_CEILING_S == 0.5


def test_news_make_looks_frequent_again() -> None:
    """S2-18F."""
    cadence = Cadence(0.1, 10)
    for _ in range(20):
        cadence.next_s()

    cadence.restart()

    assert cadence.next_s() == 0.1


@pytest.mark.parametrize(("first_s", "ceiling_s"), [(0, 1), (-1, 1), (2, 1), (float("nan"), 1)])
def test_cadence_that_makes_no_sense_is_refused(first_s: float, ceiling_s: float) -> None:
    with pytest.raises(ValueError, match="first_s"):
        Cadence(first_s, ceiling_s)
