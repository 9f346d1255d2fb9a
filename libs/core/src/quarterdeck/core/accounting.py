"""Counts and logs the ends of commands, for whichever service wrote them (S0-22 to S0-26).

Single commands are logged one by one. Children of a batch are only counted, unless they timed out: a batch has events,
counters and a view of its own, and ten thousand log lines help nobody.
"""

from collections.abc import Mapping, Sequence

import structlog

from quarterdeck.contracts.states import TERMINAL, CommandState
from quarterdeck.core import metrics
from quarterdeck.core.store import Outcome, Verdict

log = structlog.get_logger()

_WRITTEN = frozenset({Verdict.APPLIED, Verdict.CREATED})
_REFUSED = frozenset({Verdict.ILLEGAL, Verdict.UNKNOWN, Verdict.FOREIGN})


def count_ends(outcomes: Sequence[Outcome], now_ms: int, errors: Mapping[str, str] | None = None) -> None:
    """`errors`: error text by command_id, for the log."""
    for outcome in outcomes:
        if outcome.verdict in _WRITTEN and outcome.state in TERMINAL:
            error = errors.get(outcome.command_id, "") if errors else ""
            _ended(outcome, (now_ms - outcome.created_at_ms) / 1000, error)
        elif outcome.verdict is Verdict.BEHIND:
            metrics.REPORTS_STALE.inc()
        elif outcome.verdict in _REFUSED:
            log.warning("command.report_refused", command_id=outcome.command_id, verdict=outcome.verdict.name)


def count_stopped(outcomes: Sequence[Outcome], now_ms: int) -> None:
    """Of stops that were asked for: what they ended. That the rest had ended before is no report that came late."""
    count_ends([outcome for outcome in outcomes if outcome.verdict in _WRITTEN], now_ms)


def _ended(outcome: Outcome, duration_s: float, error: str) -> None:
    kind = outcome.command_type
    metrics.COMMAND_DURATION.labels(kind).observe(duration_s)
    fields = {
        "command_id": outcome.command_id,
        "client_id": outcome.agent_id,
        "command_type": kind,
        "status": outcome.state,
        "duration_s": duration_s,
    }
    match outcome.state:
        case CommandState.SUCCEEDED:
            metrics.COMMAND_COMPLETED.labels(kind).inc()
            if outcome.batch_id is None:
                log.info("command.completed", **fields)
        case CommandState.TIMED_OUT:
            metrics.COMMAND_TIMEOUT.labels(kind, "timeout").inc()
            log.warning("command.timed_out", **fields, error=error)
        case _:
            metrics.COMMAND_FAILED.labels(kind, outcome.state).inc()
            if outcome.batch_id is None:
                log.warning("command.failed", **fields, error=error)
