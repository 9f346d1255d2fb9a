"""Exit codes, case by case."""

import pytest

from quarterdeck.cli import exit_codes
from quarterdeck.cli.board import Row
from quarterdeck.contracts.states import CommandState as S


def _rows(*states: S, **facts: object) -> list[Row]:
    return [Row(command_id=str(i), target=f"m{i}", state=state, **facts) for i, state in enumerate(states)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((S.SUCCEEDED, S.SUCCEEDED), 0),
        ((S.SUCCEEDED, S.FAILED), 2),
        ((S.SUCCEEDED, S.TIMED_OUT), 2),
        ((S.SUCCEEDED, S.OUTCOME_UNKNOWN), 2),
        ((S.SUCCEEDED, S.TERMINATED), 2),
        ((S.FAILED, S.UNREACHABLE), 2),
        ((S.SUCCEEDED, S.UNREACHABLE), 4),
        ((S.EXPIRED, S.UNREACHABLE), 4),
        ((S.SUCCEEDED, S.EXECUTING), 3),
        ((S.FAILED, S.WAITING), 3),
        ((S.SUCCEEDED, S.SKIPPED, S.FAILED), 5),
    ],
)
def test_run_on_several_machines(states: tuple[S, ...], code: int) -> None:
    """0, 2, 3, 4 and 5 as documented."""
    assert exit_codes.of_run(_rows(*states)) == code


def test_order_that_policy_rejected_is_told_from_one_that_failed() -> None:
    """A threshold or a policy stops with 5; a rejected payload is a failure."""
    assert exit_codes.of_run(_rows(S.REJECTED, S.SUCCEEDED, reason="policy")) == 5
    assert exit_codes.of_run(_rows(S.REJECTED, S.SUCCEEDED, reason="invalid_payload")) == 2


@pytest.mark.parametrize(
    ("state", "exit_code", "code"), [(S.SUCCEEDED, 0, 0), (S.FAILED, 42, 42), (S.FAILED, 1, 1)]
)
def test_run_on_one_machine_passes_the_remote_exit_code_through(state: S, exit_code: int, code: int) -> None:
    """`qd run -t host -- test -f /x && …` works as if it were local."""
    assert exit_codes.of_run(_rows(state, exit_code=exit_code)) == code


def test_signal_on_one_machine_is_told_as_a_shell_tells_it() -> None:
    """128 + signal."""
    assert exit_codes.of_run(_rows(S.FAILED, signal=9)) == 137


def test_one_machine_without_an_exit_code_follows_the_table() -> None:
    """Nothing ran, or it was killed: there is no remote code to pass."""
    assert exit_codes.of_run(_rows(S.UNREACHABLE)) == 4
    assert exit_codes.of_run(_rows(S.TIMED_OUT, exit_code=None, signal=15)) == 2
