"""The failpoint matrix: for each named place, what to do so that it is reached, and the ends that may follow.

docs/failpoints.md tells the same in words; test_failpoints.py holds code, matrix and page against each other.
"""

from enum import StrEnum
from typing import Final

import msgspec

from quarterdeck.contracts.states import CommandState as S


class Scene(StrEnum):
    """What happens when the failpoint is armed."""

    COMMAND = "command"
    """One command runs: it prints, waits a moment, prints again."""
    CUT_OFF = "cut off"
    """It prints megabytes while its gateways stand still, so that the executor has to spool."""
    REDIS_LOST = "redis lost"
    """It has ended; then Redis loses everything."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    scene: Scene = Scene.COMMAND
    ends: frozenset[S] = frozenset({S.SUCCEEDED})
    starts: frozenset[int] = frozenset({1})
    """Lines in the oracle."""


_EXACT: Final = Expected()
"""As if nothing had happened: one start, succeeded, every byte."""
_UNKNOWN: Final = Expected(ends=frozenset({S.OUTCOME_UNKNOWN}))
"""It was started, and nobody can tell how it ended: outcome_unknown and a prefix of its output."""
_CUT_OFF: Final = Expected(scene=Scene.CUT_OFF, ends=frozenset({S.OUTCOME_UNKNOWN}))
_REBUILT: Final = Expected(scene=Scene.REDIS_LOST)

MATRIX: Final[dict[str, Expected]] = {
    "executor.after_received": _EXACT,
    "executor.before_fsync": Expected(
        ends=frozenset({S.SUCCEEDED, S.OUTCOME_UNKNOWN}), starts=frozenset({0, 1})
    ),
    "executor.after_starting": Expected(ends=frozenset({S.OUTCOME_UNKNOWN}), starts=frozenset({0})),
    "executor.after_spawn": Expected(ends=frozenset({S.OUTCOME_UNKNOWN}), starts=frozenset({0, 1})),
    "executor.after_running": Expected(ends=frozenset({S.OUTCOME_UNKNOWN}), starts=frozenset({0, 1})),
    "executor.after_exit": _UNKNOWN,
    "executor.after_exited": _EXACT,
    "executor.after_reported": _EXACT,
    "spool.after_write": _CUT_OFF,
    "spool.before_exited": _CUT_OFF,
    "front.after_receive": _EXACT,
    "front.before_send": _EXACT,
    "api.before_answer": _EXACT,
    "outbox.after_commit": _EXACT,
    "outbox.after_publish": _EXACT,
    "dispatcher.after_take": _EXACT,
    "dispatcher.after_sent": _EXACT,
    "dispatcher.after_hand_over": _EXACT,
    "gateway.after_order": _EXACT,
    "gateway.after_write": _EXACT,
    "gateway.after_output_publish": _EXACT,
    "gateway.after_report_publish": _EXACT,
    "aggregator.after_take": _EXACT,
    "aggregator.after_apply": _EXACT,
    "aggregator.after_publish": _EXACT,
    "rebuild.midway": _REBUILT,
    "rebuild.before_incarnation": _REBUILT,
}
