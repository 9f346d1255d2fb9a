"""The reducer behind every display: events in any order and repeated give one truth."""

from quarterdeck.cli.board import Board
from quarterdeck.cli.tables import dropped
from quarterdeck.contracts.states import CommandState


def _board() -> Board:
    return Board([("c1", "web-1"), ("c2", "web-2/guest")])


def _end(board: Board, command_id: str, version: int, **facts: object) -> None:
    board.apply(
        "command.completed", version, {"command_id": command_id, "state": "succeeded", "attempt": 1, **facts}
    )


def test_event_that_arrives_again_or_late_changes_nothing() -> None:
    """Readers drop lower versions."""
    board = _board()
    _end(board, "c1", 4, exit_code=0)

    again = board.apply("command.started", 3, {"command_id": "c1", "state": "executing", "attempt": 1})

    assert again is None
    assert board.rows["c1"].state is CommandState.SUCCEEDED


def test_run_has_ended_when_every_command_has() -> None:
    """Counts are per state."""
    board = _board()
    seen = [board.ended]

    for command_id, state in (("c1", "succeeded"), ("c2", "unreachable")):
        _end(board, command_id, 2, state=state)
        seen.append(board.ended)

    assert seen == [False, False, True]
    assert board.counts == {CommandState.SUCCEEDED: 1, CommandState.UNREACHABLE: 1}


def test_failed_attempt_that_is_retried_is_not_an_end() -> None:
    """Its facts do not leak into the next attempt."""
    board = _board()

    board.apply(
        "command.attempt_failed", 3, {"command_id": "c1", "state": "failed", "attempt": 1, "exit_code": 9}
    )

    row = board.rows["c1"]
    assert (row.attempt, row.state, row.exit_code) == (2, CommandState.PENDING, None)


def test_facts_of_the_end_are_kept() -> None:
    """Digests and exit codes feed grouping, log verification and exit codes."""
    board = _board()

    _end(board, "c1", 2, state="failed", exit_code=3, stdout_bytes=5, stdout_sha256="ab", reason="x")

    row = board.rows["c1"]
    assert (row.exit_code, row.stdout_bytes, row.stdout_sha256, row.reason) == (3, 5, "ab", "x")


def test_dropped_output_is_told_until_a_new_attempt_begins() -> None:
    """I4: truncation is explicit."""
    board = _board()
    _end(board, "c1", 2, state="failed", stdout_bytes=1_000, stdout_truncated=24_000)

    row = board.rows["c1"]
    assert dropped(row) == "stdout truncated: 1.0 kB kept, 24.0 kB dropped (--max-output)"

    board.begin_attempt("c1", 2)
    assert dropped(row) == ""


def test_command_that_was_not_announced_is_named_after_its_agent() -> None:
    """A watcher of a batch that somebody else started knows its targets only from the events."""
    board = Board([])

    board.apply("command.sent", 2, {"command_id": "c9", "state": "sent", "agent_id": "host", "guest": "vm"})

    assert board.rows["c9"].target == "host/vm"


def test_state_of_a_newer_server_leaves_the_known_one() -> None:
    """Contracts only grow; an old client goes on."""
    board = _board()
    board.apply("command.sent", 2, {"command_id": "c1", "state": "sent"})

    board.apply("command.frozen", 3, {"command_id": "c1", "state": "frozen"})

    assert board.rows["c1"].state is CommandState.SENT
