"""Holds what a run left behind against what the product promises: one verdict per invariant.

    evidence.py     what clients saw, what the oracle has, what the API and the feed say in the end
    verdicts.py     a promise, how often it was put to the test, and every time it was broken
    lifecycle.py    I1, I2, I3, I8: accepted, started and ended exactly once, and told truly
    output.py       I4, I5: bytes and watchers
    service.py      I6, I9, I12: keys, memory, loss of Redis

Pure: gathering is the caller's.
"""

from quarterdeck.testing.checker.evidence import (
    CommandSeen,
    Evidence,
    FeedEnd,
    Ordered,
    Printed,
    StreamClaim,
    Watched,
    compare,
)
from quarterdeck.testing.checker.lifecycle import check_cancels, check_ends, check_starts, check_truth
from quarterdeck.testing.checker.output import check_output, check_watchers
from quarterdeck.testing.checker.service import check_keys, check_memory, check_rebuild
from quarterdeck.testing.checker.verdicts import Verdict

__all__ = [
    "CommandSeen",
    "Evidence",
    "FeedEnd",
    "Ordered",
    "Printed",
    "StreamClaim",
    "Verdict",
    "Watched",
    "check",
    "compare",
]


def check(evidence: Evidence) -> list[Verdict]:
    """In the order of their numbers."""
    return [
        check_ends(evidence),
        check_starts(evidence),
        check_truth(evidence),
        check_output(evidence),
        check_watchers(evidence),
        check_keys(evidence),
        check_cancels(evidence),
        check_memory(evidence),
        check_rebuild(evidence),
    ]
