"""A policy as it is replaced: request → CommandPolicy."""

from typing import Final

from quarterdeck.api.handlers.requests import ReplacePolicy
from quarterdeck.api.handlers.specs import EXEC, SHELL, check_command_type
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.policies import CommandPolicy
from quarterdeck.web.tokens import Principal

_NEVER_CACHED: Final = frozenset({SHELL, EXEC})
"""Their answer is their output, which is not copied, and nobody can tell whether they only ask."""


def new_policy(asked: ReplacePolicy, principal: Principal, now_ms: int) -> CommandPolicy:
    """Raises InvalidInput."""
    for command_type in asked.cached:
        check_command_type(command_type, "cached")
        if command_type in _NEVER_CACHED:
            raise InvalidInput(f"cached: {command_type} cannot be cached", field=f"cached.{command_type}")
    return CommandPolicy(
        tenant=principal.tenant,
        allowed=None if asked.allowed is None else tuple(asked.allowed),
        needs_approval=tuple(asked.needs_approval),
        cached_s=asked.cached,
        updated_at_ms=now_ms,
        updated_by=principal.name,
    )
