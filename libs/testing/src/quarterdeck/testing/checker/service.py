"""I6, I9 and I12: keys mean one command, memory is bounded, and Redis may be lost."""

from quarterdeck.contracts.states import TERMINAL
from quarterdeck.testing.checker.evidence import Evidence
from quarterdeck.testing.checker.verdicts import Verdict


def check_keys(evidence: Evidence) -> Verdict:
    """I6."""
    verdict = Verdict(
        invariant="I6",
        promise="one idempotency key, one command",
        tested=sum(order.posts for order in evidence.orders),
        unit="posts",
    )
    keys_of: dict[str, set[str]] = {}
    for order in evidence.orders:
        verdict.note("posts sent again", order.posts - 1)
        if len(order.answered_ids) > 1:
            verdict.violations.append(f"key {order.key} stands for {', '.join(sorted(order.answered_ids))}")
        if not order.answered_ids:
            verdict.note("never answered")
        for answered_id in order.answered_ids:
            keys_of.setdefault(answered_id, set()).add(order.key)
    for answered_id, keys in keys_of.items():
        if len(keys) > 1:
            verdict.violations.append(f"{answered_id} was answered to the keys {', '.join(sorted(keys))}")
    return verdict


def check_memory(evidence: Evidence) -> Verdict:
    """I9."""
    bound = evidence.memory_bound_bytes
    verdict = Verdict(
        invariant="I9",
        promise=f"memory of every process stays under {bound // 2**20} MiB",
        tested=len(evidence.peak_bytes),
        unit="kinds of processes",
    )
    for role, peak_bytes in evidence.peak_bytes.items():
        verdict.notes[f"{role} MiB"] = peak_bytes // 2**20
        if peak_bytes > bound:
            verdict.violations.append(f"{role} took {peak_bytes // 2**20} MiB")
    return verdict


def check_rebuild(evidence: Evidence) -> Verdict:
    """I12."""
    verdict = Verdict(
        invariant="I12",
        promise="losing all of Redis only delays",
        tested=evidence.flushes,
        unit="losses",
    )
    if not evidence.flushes:
        return verdict
    ends = {end.command_id: end for end in evidence.feed_ends}
    for command_id, seen in evidence.commands.items():
        if seen.state is None:
            verdict.violations.append(f"{command_id}: not found after the loss")
        elif seen.state not in TERMINAL:
            verdict.violations.append(f"{command_id}: still {seen.state} after the loss")
        elif command_id in ends and ends[command_id].state != seen.state:
            verdict.violations.append(
                f"{command_id}: had ended {ends[command_id].state}, is {seen.state} after the loss"
            )
    return verdict
