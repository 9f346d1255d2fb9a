"""I1, I2, I3 and I8: every command ends once, starts at most once, is told of truly, and stays stopped."""

from collections import Counter
from typing import Final

from quarterdeck.contracts.states import TERMINAL
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.testing.checker.evidence import CommandSeen, Evidence
from quarterdeck.testing.checker.verdicts import Verdict

_NEVER_STARTED: Final = frozenset({S.UNREACHABLE, S.REJECTED, S.EXPIRED, S.SKIPPED})
_DELIVERY: Final = "delivery"
"""The reason of a `timed_out` that never reached a process."""


def check_ends(evidence: Evidence) -> Verdict:
    """I1."""
    verdict = Verdict(
        invariant="I1",
        promise="what was answered 202 ends exactly once",
        tested=len(evidence.commands),
        unit="commands",
    )
    verdict.violations.extend(evidence.missing_children)
    in_feed = Counter(end.command_id for end in evidence.feed_ends)
    in_state = Counter(end.command_id for end in evidence.state_ends)
    last_end = {end.command_id: end for end in evidence.feed_ends}
    for command_id, seen in evidence.commands.items():
        if seen.state is None:
            verdict.violations.append(f"{command_id}: answered 202, and nobody knows it now")
            continue
        verdict.note(seen.state.value)
        if seen.state not in TERMINAL:
            verdict.violations.append(f"{command_id} on {seen.agent_id}: still {seen.state}")
            continue
        for where, count in (("feed", in_feed[command_id]), ("state log", in_state[command_id])):
            if count != 1:
                verdict.violations.append(
                    f"{command_id}: {count} × command.completed in the {where}, not one"
                )
        end = last_end.get(command_id)
        if end is not None and (end.state, end.attempt) != (seen.state, seen.attempt):
            verdict.violations.append(
                f"{command_id}: the API says {seen.state} (attempt {seen.attempt}), "
                f"the feed {end.state} (attempt {end.attempt})"
            )
    return verdict


def check_starts(evidence: Evidence) -> Verdict:
    """I2."""
    verdict = Verdict(
        invariant="I2",
        promise="at most one start per command and attempt",
        tested=len(evidence.starts),
        unit="starts",
    )
    for (command_id, attempt), count in Counter(
        (start.command_id, start.attempt) for start in evidence.starts
    ).items():
        if count > 1:
            verdict.violations.append(f"{command_id}: attempt {attempt} was started {count} times")
    for command_id, starts in evidence.starts_of.items():
        seen = evidence.commands.get(command_id)
        if seen is None:
            verdict.violations.append(f"{command_id}: was started, and no client ever ordered it")
            continue
        highest = max(start.attempt for start in starts)
        if highest > min(seen.attempt, seen.max_attempts):
            verdict.violations.append(
                f"{command_id}: attempt {highest} was started, {seen.attempt} is the last one known, "
                f"{seen.max_attempts} were allowed"
            )
        if _says_never_started(seen) and highest == seen.attempt:
            verdict.violations.append(
                f"{command_id}: {seen.state} ({seen.reason}) means that it never ran, but it was started"
            )
    return verdict


def check_truth(evidence: Evidence) -> Verdict:
    """I3."""
    verdict = Verdict(
        invariant="I3",
        promise="what is not known is outcome_unknown, never success",
        unit="ends",
    )
    for command_id, seen in evidence.commands.items():
        if seen.state is S.OUTCOME_UNKNOWN:
            verdict.note(f"outcome_unknown: {seen.reason or 'no reason'}")
        if seen.state not in {S.SUCCEEDED, S.FAILED}:
            continue
        verdict.tested += 1
        if not any(start.attempt == seen.attempt for start in evidence.starts_of.get(command_id, ())):
            verdict.violations.append(
                f"{command_id}: {seen.state} ({seen.reason}), but attempt {seen.attempt} never started"
            )
        elif not seen.script.ends:
            verdict.violations.append(f"{command_id}: {seen.state}, but it never ends by itself")
        elif seen.exit_code != seen.script.exit_code(seen.attempt) or (seen.state is S.SUCCEEDED) != (
            seen.exit_code == 0
        ):
            verdict.violations.append(
                f"{command_id} ({seen.script.kind}): {seen.state} with exit code {seen.exit_code}, "
                f"signal {seen.signal}, {seen.reason or 'no reason'}"
            )
    return verdict


def check_cancels(evidence: Evidence) -> Verdict:
    """I8."""
    verdict = Verdict(
        invariant="I8",
        promise="nothing starts after its cancel was acknowledged; terminated means gone",
        unit="stopped commands",
    )
    for command_id, seen in evidence.commands.items():
        stopped_ms = seen.unstarted_since_ms
        if seen.state is S.TERMINATED and seen.completed_at_ms is not None:
            stopped_ms = min(stopped_ms or seen.completed_at_ms, seen.completed_at_ms)
        if stopped_ms is None:
            continue
        verdict.tested += 1
        for start in evidence.starts_of.get(command_id, ()):
            if start.at_ms > stopped_ms:
                verdict.violations.append(
                    f"{command_id}: started {start.at_ms - stopped_ms} ms after it was said to be stopped"
                )
            elif seen.state is S.TERMINATED and not seen.has_started and start.attempt == seen.attempt:
                verdict.violations.append(
                    f"{command_id}: terminated without a start, but pid {start.pid} wrote its line"
                )
    for marker in evidence.survivors:
        command_id = marker.rpartition(".")[0]
        seen_alive = evidence.commands.get(command_id)
        if seen_alive is None or seen_alive.state is not S.OUTCOME_UNKNOWN:
            state = "unknown" if seen_alive is None else seen_alive.state
            verdict.violations.append(f"{marker}: {state}, but a process of it still runs")
    return verdict


def _says_never_started(seen: CommandSeen) -> bool:
    return seen.state in _NEVER_STARTED or (seen.state is S.TIMED_OUT and seen.reason == _DELIVERY)
