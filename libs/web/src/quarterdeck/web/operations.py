"""The one table of operations: what each requires, and what the OpenAPI document says of it. Deny by default.

Owns the table's shape and the check; the rows are the services'. A route that no row names is refused to everybody, so
a forgotten row is found by the first test and not by the first stranger.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar import Request

from quarterdeck.contracts.errors import NotAuthorised
from quarterdeck.web.tokens import Principal

PUBLIC: Final = "public"
"""The action of what needs no token: health, and nothing else."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path template, such as `GET /api/command/{command_id}`."""

    method: str
    path: str
    action: str
    """What a principal must be allowed to do, `<entity>.<verb>`, or PUBLIC."""
    summary: str
    query: type[msgspec.Struct] | None = None
    request: type[msgspec.Struct] | None = None
    answers: dict[int, type[msgspec.Struct] | str] = {}
    """Status → JSON body, or the media type of a body that is no JSON."""
    headers: tuple[str, ...] = ()
    """Request headers that change what happens."""


class Operations:
    def __init__(self, rows: Iterable[Operation]) -> None:
        self.rows = tuple(rows)
        self._actions = {(row.method, row.path): row.action for row in self.rows}

    def action_of(self, method: str, path_template: str) -> str | None:
        """None: no row, nobody may."""
        return self._actions.get((method, path_template))

    @property
    def public_paths(self) -> frozenset[str]:
        return frozenset(row.path for row in self.rows if row.action == PUBLIC)

    async def check(self, request: Request[Any, Any, Any]) -> None:
        """Litestar's hook before every handler. Raises NotAuthorised.

        No Litestar guard: for those it copies the route handler at each request. And a coroutine though it waits for
        nothing: what is none, Litestar sends through a thread pool.
        """
        scope: Any = request.scope
        self.permit(scope["method"], scope["path_template"], scope.get("user"))

    def permit(self, method: str, path_template: str, principal: object) -> None:
        """Raises NotAuthorised when `principal` may not do what the table names there."""
        action = self.action_of(method, path_template)
        if action is None:
            raise NotAuthorised("no rule allows this operation")
        if action != PUBLIC and not may(principal, action):
            raise NotAuthorised(f"not allowed: {action}")


def may(principal: object, action: str) -> bool:
    """Whether `principal` may do `action`: every token holder may do all that the table names."""
    return isinstance(principal, Principal) and bool(action)
