"""Ends of commands are counted and logged, whoever wrote them."""

import pytest
import structlog

from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.accounting import count_ends
from quarterdeck.core.store import Outcome, Verdict

S = CommandState
CREATED_MS = 1_000
NOW_MS = 3_500


def _outcome(
    state: CommandState, *, kind: str, verdict: Verdict = Verdict.APPLIED, batch_id: str | None = None
) -> Outcome:
    return Outcome(verdict, "c1", state, 1, 3, "client-001", kind, CREATED_MS, batch_id)


def _value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(
    ("state", "metric", "labels", "event"),
    [
        (S.SUCCEEDED, "command_completed_total", {}, "command.completed"),
        (S.FAILED, "command_failed_total", {"state": "failed"}, "command.failed"),
        (S.UNREACHABLE, "command_failed_total", {"state": "unreachable"}, "command.failed"),
        (S.TIMED_OUT, "command_timeout_total", {"reason": "timeout"}, "command.timed_out"),
    ],
)
def test_an_end_is_counted_and_logged_with_its_members(
    state: CommandState, metric: str, labels: dict[str, str], event: str
) -> None:
    """S0-22, S0-24, S0-25, S0-26: counter, duration, and a log event with id, client, type, status and error."""
    kind = f"accounting-{state}"

    with structlog.testing.capture_logs() as logs:
        count_ends([_outcome(state, kind=kind)], NOW_MS, {"c1": "exit 3"})

    assert _value(metric, command_type=kind, **labels) == 1
    assert _value("command_duration_seconds_sum", command_type=kind) == 2.5
    assert [(log["event"], log["command_id"], log["client_id"], log["status"]) for log in logs] == [
        (event, "c1", "client-001", state)
    ]
    assert logs[0].get("error", "exit 3") == "exit 3"


def test_children_of_a_batch_are_counted_without_a_line_each() -> None:
    with structlog.testing.capture_logs() as logs:
        count_ends([_outcome(S.SUCCEEDED, kind="accounting-child", batch_id="b1")] * 3, NOW_MS)

    assert _value("command_completed_total", command_type="accounting-child") == 3
    assert logs == []


@pytest.mark.parametrize("verdict", [Verdict.ILLEGAL, Verdict.UNKNOWN, Verdict.FOREIGN])
def test_a_refused_report_is_logged_and_counts_as_no_end(verdict: Verdict) -> None:
    with structlog.testing.capture_logs() as logs:
        count_ends([_outcome(S.SUCCEEDED, kind="accounting-refused", verdict=verdict)], NOW_MS)

    assert _value("command_completed_total", command_type="accounting-refused") == 0
    assert [(log["event"], log["verdict"]) for log in logs] == [("command.report_refused", verdict.name)]
