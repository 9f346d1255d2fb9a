"""I4 and I5: what commands printed is what is kept and what watchers saw, byte for byte and in order."""

from itertools import pairwise

from quarterdeck.contracts.states import CommandState as S
from quarterdeck.testing.checker.evidence import CommandSeen, Evidence, Watched
from quarterdeck.testing.checker.verdicts import Verdict


def check_output(evidence: Evidence) -> Verdict:
    """I4."""
    verdict = Verdict(
        invariant="I4",
        promise="output is exact, or a marked prefix",
        unit="outputs",
    )
    for seen in evidence.commands.values():
        if seen.state is None:
            continue
        verdict.tested += 1
        verdict.violations.extend(_faults_of(seen))
        if seen.claim is not None and seen.claim.verified:
            verdict.note("verified by digest")
        if seen.printed is not None:
            verdict.notes["bytes compared"] = verdict.notes.get("bytes compared", 0) + seen.printed.length
    return verdict


def _faults_of(seen: CommandSeen) -> list[str]:
    name = f"{seen.command_id} ({seen.script.kind}, {seen.state})"
    if seen.printed is None:
        return [f"{name}: its log could not be read"]
    printed, claim = seen.printed, seen.claim
    faults = []
    if not printed.is_prefix:
        faults.append(f"{name}: {printed.length} bytes are kept that are no prefix of what it printed")
    if seen.state in {S.SUCCEEDED, S.FAILED} and not printed.is_whole:
        faults.append(f"{name}: ended by itself, but only {printed.length} bytes are kept")
    if (
        claim is not None
        and claim.verified
        and (claim.length, claim.sha256)
        != (
            printed.length + claim.truncated_bytes,
            printed.sha256,
        )
    ):
        faults.append(
            f"{name}: said to be complete with {claim.length} bytes {claim.sha256[:12]}, "
            f"has {printed.length} bytes {printed.sha256[:12]}"
        )
    if (
        seen.state in {S.SUCCEEDED, S.FAILED}
        and printed.length
        and not (claim is not None and claim.verified)
    ):
        faults.append(f"{name}: ended by itself, but its output was never verified")
    return faults


def check_watchers(evidence: Evidence) -> Verdict:
    """I5, and I4 as a watcher sees it."""
    verdict = Verdict(
        invariant="I5",
        promise="a watcher sees each event once, in order, however often it is cut off",
        tested=sum(len(watched.sequences) for watched in evidence.watched),
        unit="watched events",
    )
    for watched in evidence.watched:
        verdict.note("connections", watched.connections)
        verdict.note("resyncs", watched.resyncs)
        verdict.violations.extend(f"watcher of {watched.batch_id}: {fault}" for fault in _lapses(watched))
        for command_id, printed in watched.output.items():
            seen = evidence.commands.get(command_id)
            if seen is None or seen.printed is None or watched.resyncs:
                continue
            if printed.sha256 != seen.printed.sha256:
                verdict.violations.append(
                    f"watcher of {watched.batch_id}: put together {printed.length} bytes of {command_id}, "
                    f"the log has {seen.printed.length}"
                )
    return verdict


def _lapses(watched: Watched) -> list[str]:
    lapses: list[str] = []
    lapses.extend(
        f"{later} came after {earlier}" for earlier, later in pairwise(watched.sequences) if later <= earlier
    )
    if unknown := set(watched.sequences) - set(watched.feed_sequences):
        lapses.append(f"{len(unknown)} events are not in the feed")
    if not watched.ended:
        lapses.append("was never told the end")
    if watched.resyncs:
        return lapses  # told that something is missing: no longer a silent gap
    if missed := set(watched.feed_sequences) - set(watched.sequences):
        lapses.append(f"{len(missed)} events were never seen, the first is {min(missed)}")
    if watched.gaps:
        lapses.append(f"{watched.gaps} chunks of output did not begin where the one before ended")
    return lapses
