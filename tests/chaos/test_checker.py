"""The checker itself: a clean run is kept everywhere, and each kind of violation turns its own invariant red."""

from typing import Any

import msgspec
import pytest

from quarterdeck.contracts.states import CommandState as S
from quarterdeck.testing.checker import (
    CommandSeen,
    Evidence,
    FeedEnd,
    Ordered,
    StreamClaim,
    Verdict,
    Watched,
    check,
    compare,
)
from quarterdeck.testing.oracle import Kind, Script, Start

PRINTED = b"1\n2\n3\n"
SCRIPT = Script(kind=Kind.QUICK, shell="", exit_code=lambda _: 0, stdout=lambda _: PRINTED)
BAD = msgspec.structs.replace(SCRIPT, kind=Kind.FAILING, exit_code=lambda _: 3)


def whole(output: bytes = PRINTED) -> dict[str, Any]:
    printed = compare(output, PRINTED)
    return {
        "printed": printed,
        "claim": StreamClaim(length=printed.length, sha256=printed.sha256, verified=True),
    }


def command(command_id: str = "c1", **changes: Any) -> CommandSeen:
    fields = {
        "command_id": command_id,
        "script": SCRIPT,
        "state": S.SUCCEEDED,
        "agent_id": "agent-1",
        "exit_code": 0,
        "has_started": True,
        "completed_at_ms": 2_000,
        **whole(),
        **changes,
    }
    return CommandSeen(**fields)


def watched(**changes: Any) -> Watched:
    fields: dict[str, Any] = {
        "batch_id": "b1",
        "sequences": (1, 2, 5),
        "feed_sequences": (1, 2, 5),
        "connections": 2,
        "resyncs": 0,
        "ended": True,
        "output": {"c1": compare(PRINTED, PRINTED)},
        **changes,
    }
    return Watched(**fields)


def run_with(*commands: CommandSeen, **changes: Any) -> Evidence:
    """One order per command, its line in the oracle and its end in the streams, unless `changes` say otherwise."""
    seen = {one.command_id: one for one in commands or (command(),)}
    ends = [
        FeedEnd(command_id=one.command_id, state=one.state, attempt=one.attempt, sequence=9)
        for one in seen.values()
        if one.state is not None
    ]
    fields: dict[str, Any] = {
        "orders": [
            Ordered(key=f"key-{one}", targets=1, answered_ids=frozenset({one}), is_batch=False)
            for one in seen
        ],
        "commands": seen,
        "starts": [Start(one, 1, 100, 1_000) for one in seen],
        "feed_ends": ends,
        "state_ends": ends,
        "watched": [watched()],
        "peak_bytes": {"api": 50 * 2**20},
        "flushes": 1,
        **changes,
    }
    return Evidence(**fields)


def broken(evidence: Evidence) -> set[str]:
    return {verdict.invariant for verdict in check(evidence) if not verdict.kept}


def test_a_clean_run_keeps_every_promise() -> None:
    verdicts: list[Verdict] = check(run_with())

    assert [verdict.invariant for verdict in verdicts] == [
        *("I1", "I2", "I3", "I4", "I5", "I6", "I8", "I9", "I12"),
    ]
    assert [verdict.violations for verdict in verdicts] == [[]] * 9
    assert all(verdict.tested for verdict in verdicts if verdict.invariant != "I8")


END = FeedEnd(command_id="c1", state=S.SUCCEEDED, attempt=1, sequence=9)
START = Start("c1", 1, 100, 1_000)
UNSTARTED: dict[str, Any] = {
    "has_started": False,
    "exit_code": None,
    "claim": None,
    "printed": compare(b"", PRINTED),
}

VIOLATIONS: dict[str, tuple[str, Evidence]] = {
    "lost": ("I1", run_with(command(state=None), flushes=0)),
    "never ends": ("I1", run_with(command(state=S.EXECUTING), flushes=0)),
    "ends twice": ("I1", run_with(feed_ends=[END, END])),
    "has no end in the feed": ("I1", run_with(feed_ends=[])),
    "ends twice in the state log": ("I1", run_with(state_ends=[END, END])),
    "API and feed disagree": (
        "I1",
        run_with(feed_ends=[msgspec.structs.replace(END, state=S.FAILED)], flushes=0),
    ),
    "a batch shows too few": ("I1", run_with(missing_children=["b1: shows 2 of 3 commands"])),
    "starts twice": ("I2", run_with(starts=[START, START])),
    "starts again unasked": ("I2", run_with(starts=[START, Start("c1", 2, 101, 1_500)])),
    "starts though rejected": ("I2", run_with(command(state=S.REJECTED, **UNSTARTED))),
    "starts though unreachable": ("I2", run_with(command(state=S.UNREACHABLE, **UNSTARTED))),
    "starts though never delivered": (
        "I2",
        run_with(command(state=S.TIMED_OUT, reason="delivery", **UNSTARTED)),
    ),
    "starts unordered": ("I2", run_with(starts=[START, Start("stranger", 1, 102, 1_000)])),
    "succeeds without a start": ("I3", run_with(starts=[])),
    "succeeds with a failing exit code": ("I3", run_with(command(script=BAD))),
    "fails by a signal that nobody sent": (
        "I3",
        run_with(command(script=BAD, state=S.FAILED, exit_code=None, signal=9)),
    ),
    "loses the end of its output": ("I4", run_with(command(**whole(b"1\n")), watched=[])),
    "keeps bytes twice": ("I4", run_with(command(**whole(b"1\n1\n2\n3\n")), watched=[])),
    "has a gap": ("I4", run_with(command(state=S.OUTCOME_UNKNOWN, **whole(b"1\n3\n")), watched=[])),
    "claims another digest": (
        "I4",
        run_with(command(claim=StreamClaim(length=6, sha256="0" * 64, verified=True))),
    ),
    "is never verified": (
        "I4",
        run_with(command(claim=StreamClaim(length=6, sha256=whole()["printed"].sha256, verified=False))),
    ),
    "has no log": ("I4", run_with(command(printed=None))),
    "is watched out of order": ("I5", run_with(watched=[watched(sequences=(1, 5, 2))])),
    "is watched twice": ("I5", run_with(watched=[watched(sequences=(1, 2, 2, 5))])),
    "is watched with a silent gap": ("I5", run_with(watched=[watched(sequences=(1, 5))])),
    "is watched for ever": ("I5", run_with(watched=[watched(ended=False)])),
    "is watched with other bytes": (
        "I5",
        run_with(watched=[watched(output={"c1": compare(b"1\n2\n", b"1\n2\n")})]),
    ),
    "one key, two ids": (
        "I6",
        run_with(orders=[Ordered(key="k", targets=1, answered_ids=frozenset({"c1", "c2"}), is_batch=False)]),
    ),
    "two keys, one id": (
        "I6",
        run_with(
            orders=[
                Ordered(key=key, targets=1, answered_ids=frozenset({"c1"}), is_batch=False)
                for key in ("k1", "k2")
            ]
        ),
    ),
    "starts after its end": ("I8", run_with(command(state=S.TERMINATED, completed_at_ms=500))),
    "starts after a cancel was acknowledged": ("I8", run_with(command(unstarted_since_ms=900))),
    "starts though cancelled before": ("I8", run_with(command(state=S.TERMINATED, **UNSTARTED))),
    "survives its end": ("I8", run_with(survivors=["c1.1"])),
    "takes too much memory": ("I9", run_with(peak_bytes={"api": 2**40})),
    "is forgotten with Redis": ("I12", run_with(command(state=None))),
    "ends otherwise after a loss": (
        "I12",
        run_with(feed_ends=[msgspec.structs.replace(END, state=S.FAILED)]),
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_turns_its_invariant_red(name: str) -> None:
    """I1–I6, I8, I9, I12: what a command, a client or a process must not do."""
    invariant, evidence = VIOLATIONS[name]

    assert invariant in broken(evidence)


def test_what_cannot_be_known_may_end_as_unknown() -> None:
    """I3: with a prefix of its output, a line in the oracle or none, and processes that outlived the executor."""
    unknown = command(state=S.OUTCOME_UNKNOWN, exit_code=None, claim=None, printed=compare(b"1\n", PRINTED))

    assert not broken(run_with(unknown, watched=[], survivors=["c1.1"]))
    assert not broken(run_with(unknown, watched=[], starts=[]))


def test_a_watcher_that_was_told_of_a_gap_is_no_violation() -> None:
    """I5: an explicit resync."""
    told = watched(sequences=(1, 5), resyncs=1, output={})

    assert not broken(run_with(watched=[told]))
