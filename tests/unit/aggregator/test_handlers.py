"""What reports mean."""

import hashlib

from quarterdeck.aggregator.handlers import Story, Verified, digest_matches, move_of, read
from quarterdeck.contracts.reports import (
    Accepted,
    Progress,
    Rejected,
    Result,
    Returned,
    Started,
    StreamReport,
    TerminateAcked,
)
from quarterdeck.contracts.states import CommandState

WELL = Verified(stdout=True, stderr=True)
_WHO = {"command_id": "c1", "attempt": 1, "agent_id": "a1"}


def _accepted(at_ms: int = 10) -> Accepted:
    return Accepted(at_ms=at_ms, **_WHO)  # type: ignore[arg-type]


def _result(**more: object) -> Result:
    return Result(at_ms=30, end=CommandState.SUCCEEDED, **_WHO, **more)  # type: ignore[arg-type]


def test_reports_of_one_pull_become_one_move_with_all_times() -> None:
    """S4-18, S4-20: accepted, started and result in one pull are one transition."""
    stories = read([_accepted(), Started(at_ms=20, **_WHO), _result(exit_code=0, started_at_ms=20)])  # type: ignore[arg-type]

    move = move_of("t", stories[0], WELL)

    assert len(stories) == 1
    assert move is not None
    assert (move.to, move.at_ms) == (CommandState.SUCCEEDED, 30)
    assert move.fields == {"accepted_at_ms": 10, "started_at_ms": 20, "completed_at_ms": 30, "exit_code": 0}


def test_a_late_acceptance_does_not_take_a_result_back() -> None:
    """I1"""
    move = move_of("t", read([_result(), _accepted()])[0], WELL)

    assert move is not None
    assert move.to is CommandState.SUCCEEDED


def test_attempts_are_kept_apart() -> None:
    second = Accepted(command_id="c1", attempt=2, agent_id="a1", at_ms=5)

    assert [(story.command_id, story.attempt) for story in read([_accepted(), second])] == [
        ("c1", 1),
        ("c1", 2),
    ]


def test_progress_amends_without_a_move() -> None:
    """S4-19"""
    story = read([Progress(at_ms=7, stdout=StreamReport(length=5, tail=b"hello"), **_WHO)])[0]  # type: ignore[arg-type]

    assert move_of("t", story, WELL) is None
    assert story.fields == {"last_output_at_ms": 7, "stdout_bytes": 5, "stdout_tail": b"hello"}


def test_rejection_carries_its_reason() -> None:
    story = read([Rejected(at_ms=7, reason="invalid_payload", error="payload: expected …", **_WHO)])[0]  # type: ignore[arg-type]

    move = move_of("t", story, WELL)

    assert move is not None
    assert move.to is CommandState.REJECTED
    assert move.fields["reason"] == "invalid_payload"


def test_returned_and_stop_acknowledgement_move_nothing() -> None:
    stories = read([Returned(at_ms=1, handover="h1", **_WHO), TerminateAcked(at_ms=1, **_WHO)])  # type: ignore[arg-type]

    assert stories == [Story("c1", 1, "a1", returned=["h1"], stop_acked=True)]


def test_stop_of_what_never_reached_the_agent_is_its_end() -> None:
    """I8 I1: nobody else will ever say how it ended."""
    (story,) = read([TerminateAcked(at_ms=7, never_started=True, **_WHO)])  # type: ignore[arg-type]

    move = move_of("t", story, WELL)

    assert move is not None
    assert move.to is CommandState.TERMINATED
    assert move.fields == {"completed_at_ms": 7, "reason": "cancelled_before_start"}


def test_digest_is_judged_only_where_both_sides_gave_one() -> None:
    """I4: complete means the agent's digest and the bus' agree."""
    digest = hashlib.sha256(b"x").digest()

    assert digest_matches(StreamReport(length=0)) is True
    assert digest_matches(StreamReport(length=1, sha256=digest, stored_sha256=digest)) is True
    assert digest_matches(StreamReport(length=1, sha256=digest, stored_sha256=b"other")) is False
    assert digest_matches(StreamReport(length=1, sha256=digest)) is None


def test_mismatched_digest_is_recorded_as_not_verified() -> None:
    """I4"""
    story = read([_result(stdout=StreamReport(length=1, sha256=b"\x01", tail=b"x"))])[0]

    move = move_of("t", story, Verified(stdout=False, stderr=True))

    assert move is not None
    assert (move.fields["stdout_verified"], move.fields["stdout_sha256"]) == (0, "01")
    assert "stderr_bytes" not in move.fields
