"""Errors as RFC 9457 problem documents: the one table of statuses, and the members that each error shows.

Owns what an error looks like over HTTP, for both services; the errors know nothing of it. The two services add rows for
errors of their own.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck.contracts.errors import (
    AgentUnreachable,
    DecodeError,
    IdempotencyConflict,
    InvalidCursor,
    InvalidEventId,
    InvalidInput,
    NotAuthenticated,
    NotAuthorised,
    NotConfirmed,
    NotFound,
    PayloadTooLarge,
    QuarterdeckError,
    TooManyInFlight,
    Unavailable,
    UnknownAgent,
)
from quarterdeck.web.errors import BodyTooLarge, MalformedBody, MethodNotAllowed, UpgradeRequired

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:quarterdeck:error:"


class Row(msgspec.Struct, frozen=True):
    """How one type of error, and those derived from it, answers. `members`: JSON name → attribute of the error."""

    status: int
    members: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}


ROWS: Final[dict[type[QuarterdeckError], Row]] = {
    QuarterdeckError: Row(500),
    DecodeError: Row(500),
    InvalidInput: Row(422),
    MalformedBody: Row(400),
    InvalidCursor: Row(400),
    InvalidEventId: Row(400),
    PayloadTooLarge: Row(413),
    IdempotencyConflict: Row(422),
    # No `Connection: close`: closing on unread bytes resets the connection, and the client never sees the answer.
    BodyTooLarge: Row(413),
    NotFound: Row(404),
    UnknownAgent: Row(404, members={"unknown": "agent_ids"}),
    MethodNotAllowed: Row(405),
    UpgradeRequired: Row(426, headers={"Connection": "Upgrade", "Upgrade": "websocket"}),
    NotAuthenticated: Row(401, headers={"WWW-Authenticate": "Bearer"}),
    NotAuthorised: Row(403),
    AgentUnreachable: Row(409, members={"command_id": "command_id"}),
    TooManyInFlight: Row(429, headers={"Retry-After": "1"}),
    Unavailable: Row(503),
    NotConfirmed: Row(503, members={"command_id": "subject_id"}),
}
"""Looked up along an error's base classes, nearest first."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is an error. `members` are the document's, in order."""

    status: int
    members: dict[str, Any]
    headers: dict[str, str]

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(self.members)


def problem_for_path(error: QuarterdeckError, _path: str) -> Problem:
    """As `problem_of`, for services whose errors look the same on all paths."""
    return problem_of(error)


def problem_of(error: QuarterdeckError, rows: Mapping[type[QuarterdeckError], Row] = ROWS) -> Problem:
    """The problem document of `error`. A 5xx that is no outage says nothing of its cause: that is for the log."""
    row = next((rows[kind] for kind in type(error).__mro__ if kind in rows), rows[QuarterdeckError])
    code = error.code
    detail = error.message if row.status != 500 else "the request failed in a way that we did not foresee"
    members: dict[str, Any] = {
        "type": _TYPE_PREFIX + code,
        "title": code.replace("_", " ").capitalize(),
        "status": row.status,
        "detail": detail,
        "code": code,
    }
    if error.field is not None:
        members["field"] = error.field
    members |= {name: getattr(error, attribute) for name, attribute in row.members.items()}
    headers = dict(row.headers)
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    return Problem(status=row.status, members=members, headers=headers)
