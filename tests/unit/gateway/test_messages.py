"""Translation between the wire and the contracts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts import reports
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.messages import check_wire_id, report_of, result_of, spec_bytes
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

_EMPTY = reports.StreamReport(length=0)


def test_spec_travels_whole() -> None:
    """S0-7, S4-7"""
    spec = CommandSpec(
        command_type="shell",
        payload=b'{"command": "id"}',
        working_directory="/srv",
        env={"A": "1"},
        no_output_timeout_ms=7,
        grace_ms=9,
        priority=3,
        max_output_bytes=11,
    )

    sent = pb.CommandSpec.FromString(spec_bytes(spec))

    assert (sent.command_type, sent.payload, sent.working_directory) == (
        "shell",
        b'{"command": "id"}',
        "/srv",
    )
    assert sent.max_output_bytes == 11
    assert (dict(sent.env), sent.no_output_timeout_ms, sent.grace_ms, sent.priority) == ({"A": "1"}, 7, 9, 3)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (pb.Accepted(command_id="c1", attempt=2, at_ms=3), reports.Accepted),
        (pb.Started(command_id="c1", attempt=2, at_ms=3), reports.Started),
        (pb.Rejected(command_id="c1", attempt=2, at_ms=3, reason="r", error="e"), reports.Rejected),
        (pb.TerminateAck(command_id="c1", attempt=2, at_ms=3), reports.TerminateAcked),
    ],
)
def test_reports_name_command_attempt_agent_and_time(message: pb.Accepted, kind: type) -> None:
    report = report_of(message, "a1")

    assert type(report) is kind
    assert (report.command_id, report.attempt, report.agent_id, report.at_ms) == ("c1", 2, "a1", 3)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (pb.SUCCEEDED, CommandState.SUCCEEDED),
        (pb.FAILED, CommandState.FAILED),
        (pb.TIMED_OUT, CommandState.TIMED_OUT),
        (pb.TERMINATED, CommandState.TERMINATED),
        (pb.OUTCOME_UNKNOWN, CommandState.OUTCOME_UNKNOWN),
    ],
)
def test_every_end_has_its_state(end: "pb.End.ValueType", state: CommandState) -> None:
    """S4-18"""
    assert result_of(pb.Result(command_id="c1", attempt=1, end=end), "a1", _EMPTY, _EMPTY).end is state


def test_absent_exit_code_is_not_zero() -> None:
    without = result_of(pb.Result(end=pb.FAILED, signal=9), "a1", _EMPTY, _EMPTY)
    with_zero = result_of(pb.Result(end=pb.SUCCEEDED, exit_code=0), "a1", _EMPTY, _EMPTY)

    assert (without.exit_code, without.signal) == (None, 9)
    assert (with_zero.exit_code, with_zero.signal) == (0, None)


def test_result_without_an_end_is_refused() -> None:
    with pytest.raises(LinkRefused):
        result_of(pb.Result(command_id="c1"), "a1", _EMPTY, _EMPTY)


@given(st.text())
def test_no_id_outside_the_pattern_passes(text: str) -> None:
    try:
        assert check_wire_id(text, "id") == text
    except LinkRefused:
        assert not ID_PATTERN.match(text)
    else:
        assert ID_PATTERN.match(text)


@pytest.mark.parametrize(
    "text",
    [b"}{", b"1},{", b"1],[2", b'1,"state":2', b"\xff", b'"\xff"', b"1e999", b"[" * 950 + b"]" * 950, b" "],
)
def test_result_that_is_no_json_is_a_failure_and_goes_no_further(text: bytes) -> None:
    """I9: what one agent says spoils neither the reports of others nor the events and lists that would embed it."""
    message = pb.Result(command_id="c1", attempt=1, end=pb.SUCCEEDED, exit_code=0, result=text)

    told = result_of(message, "a1", _EMPTY, _EMPTY)

    assert (told.end, told.reason, told.result) == (CommandState.FAILED, "invalid_result", b"")
    assert "no JSON" in told.error


@pytest.mark.parametrize("text", [b"", b"null", b'{"a": [1, "\\u00e4", 1e300]}', b"[" * 500 + b"]" * 500])
def test_result_that_is_json_goes_on_as_it_came(text: bytes) -> None:
    """S0-5"""
    message = pb.Result(command_id="c1", attempt=1, end=pb.SUCCEEDED, result=text)

    told = result_of(message, "a1", _EMPTY, _EMPTY)

    assert (told.end, told.result) == (CommandState.SUCCEEDED, text)
