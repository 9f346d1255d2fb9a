"""Views of the store as the seeds' bodies: every state has a place in each table."""

import msgspec
import pytest

from quarterdeck.api.output_log import Extent
from quarterdeck.api.routes.output import Span, parse_range
from quarterdeck.api.views import seed0
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import CommandView, StreamView
from quarterdeck.web.fates import error_of
from quarterdeck.web.tasks import STATUS_OF, task

VIEW = CommandView(
    command_id="c1",
    tenant="default",
    user_id="alice",
    agent_id="a1",
    guest="vm1",
    spec=CommandSpec(command_type="x", payload=b'{"a": 1}', timeout_ms=1_500),
    state=CommandState.PENDING,
    attempt=1,
    version=1,
    created_at_ms=1_704_110_400_000,
    updated_at_ms=1_704_110_400_123,
    deadline_at_ms=1_704_110_500_000,
)


def with_(**changes: object) -> CommandView:
    return msgspec.structs.replace(VIEW, **changes)


def test_every_state_has_a_status_in_both_seeds() -> None:
    """S0-6, S4-11"""
    for state in CommandState:
        view = with_(state=state)
        assert seed0.status_of(view) in seed0.STATES_OF
        assert state in seed0.STATES_OF[seed0.status_of(view)]
        assert task(view, str).status == STATUS_OF[state]


def test_wire_of_a_command_is_told_in_both_seeds() -> None:
    """S1-28: carrier and dialect, once it was sent."""
    unsent, sent = with_(guest=None), with_(guest=None, via="grpc/deepflow")

    assert (seed0.command(unsent).via, task(unsent, str).via) == (None, None)
    shown = {"carrier": "grpc", "dialect": "deepflow"}
    assert msgspec.to_builtins(seed0.command(sent).via) == shown
    assert msgspec.to_builtins(task(sent, str).via) == shown


@pytest.mark.parametrize(
    ("command_type", "protocol"),
    [
        ("shell", "qga"),
        ("exec", "qga"),
        ("qga.exec", "qga"),
        ("qmp.execute", "qmp"),
        ("qmp.send_keys", "qmp"),
        ("virtio.send", "virtio_serial"),
        ("spice.send_keys", "spice"),
    ],
)
def test_a_guests_command_tells_the_protocol_too(command_type: str, protocol: str) -> None:
    """S2-4: it follows from the command; nobody has to record it."""
    view = with_(via="quic", spec=CommandSpec(command_type=command_type, payload=b"{}"))

    shown = {"carrier": "quic", "dialect": "native", "protocol": protocol}
    assert msgspec.to_builtins(seed0.command(view).via) == shown
    assert msgspec.to_builtins(task(view, str).via) == shown


def test_what_ran_out_of_time_without_proof_is_a_timeout_for_seed_0() -> None:
    """S0-19"""
    view = with_(state=CommandState.OUTCOME_UNKNOWN, reason="deadline")
    assert (seed0.status_of(view), error_of(view)) == ("timeout", "promise timeout")
    other = with_(state=CommandState.OUTCOME_UNKNOWN, reason="executor_died")
    assert (seed0.status_of(other), error_of(other)) == ("failed", "outcome unknown")


def test_a_fresh_command_has_exactly_the_seeds_members_and_its_state() -> None:
    """S0-4, S0-5"""
    body = msgspec.json.decode(seed0.one_command(VIEW))
    assert body["command"] == {
        "command_id": "c1",
        "client_id": "a1/vm1",
        "command_type": "x",
        "payload": {"a": 1},
        "status": "pending",
        "created_at": "2024-01-01T12:00:00.000Z",
        "timeout": 1_500_000_000,
        "state": "pending",
    }


def test_a_failure_tells_why_in_the_words_at_hand() -> None:
    """S0-20"""
    failed = {"state": CommandState.FAILED}
    assert error_of(with_(**failed, error="disk full", exit_code=1)) == "disk full"
    assert error_of(with_(**failed, exit_code=2)) == "exit status 2"
    assert error_of(with_(**failed, signal=9)) == "killed by signal 9"
    assert error_of(with_(**failed, reason="spawn_failed")) == "spawn_failed"


def test_a_summary_has_whole_lines_only() -> None:
    """S4-4"""
    cut = with_(stdout=StreamView(length=9_000, tail=b"half\none\ntwo"))
    assert task(cut, str).output_stream_summary == ["one", "two"]
    whole = with_(stdout=StreamView(length=12, tail=b"half\none\ntwo"))
    assert task(whole, str).output_stream_summary == ["half", "one", "two"]
    endless = with_(stdout=StreamView(length=9_000, tail=b"no line break at all"))
    assert task(endless, str).output_stream_summary == ["no line break at all"]


def test_ranges_stay_within_what_is_stored() -> None:
    """S4-23"""
    stored = Extent(first=0, end=100, last_sequence=9)
    assert parse_range("bytes=0-99", stored) == Span(0, 100)
    assert parse_range("bytes=-200", stored) == Span(0, 100)
    assert parse_range("bytes=50-10", stored) == Span(50, 50)
    assert parse_range("bytes=100-", stored) == Span(100, 100)
    assert parse_range("bytes=1,2", stored) is None
    assert parse_range("octets=1-2", stored) is None
