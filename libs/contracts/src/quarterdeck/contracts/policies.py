"""What a tenant's callers may order at all, whoever they are. Kept in the registry, followed by every api."""

import msgspec


class CommandPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="command_policy/1"):
    """Value in QD_POLICIES under `<tenant>`. A tenant without one may order everything, and nothing is cached."""

    tenant: str
    allowed: tuple[str, ...] | None = None
    """Command types that may be ordered, `*` and `?` as in file names; None: all."""
    needs_approval: tuple[str, ...] = ()
    """Patterns of command types that somebody else must approve before they are sent."""
    cached_s: dict[str, int] = {}
    """Command types that only ask, and for how many seconds a success answers the same question again."""
    updated_at_ms: int = 0
    updated_by: str = ""


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="approval/1"):
    """Value in QD_POLICIES under `approval.<tenant>.<id>`: this command, or this batch, may be sent."""

    tenant: str
    subject_id: str
    approved_by: str
    at_ms: int
