"""A tenant's policy as the API shows it."""

import msgspec

from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.policies import CommandPolicy


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    allowed: list[str] | None
    """null: everything."""
    needs_approval: list[str]
    cached: dict[str, int]
    """Seconds by command type."""
    updated_at: str | None
    updated_by: str | None


def policy(shown: CommandPolicy) -> Policy:
    return Policy(
        allowed=None if shown.allowed is None else list(shown.allowed),
        needs_approval=list(shown.needs_approval),
        cached=shown.cached_s,
        updated_at=maybe_rfc3339(shown.updated_at_ms or None),
        updated_by=shown.updated_by or None,
    )


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    id: str
    """Of the command or batch."""
    approved_by: str
