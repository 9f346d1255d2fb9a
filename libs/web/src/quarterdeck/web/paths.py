"""Ids in paths."""

from typing import Any

from litestar import Request

from quarterdeck.contracts.errors import InvalidId, NotFound
from quarterdeck.contracts.ids import check_id, check_uuid
from quarterdeck.web.tokens import Principal

WebRequest = Request[Principal, None, Any]
"""Behind the gate: `user` is there."""


def path_id(request: WebRequest, name: str) -> str:
    """As `checked_id`, of the request's path."""
    return checked_id(request.path_params[name], name)


def checked_id(raw: str, name: str) -> str:
    """The id of a command, a batch or a token, as a path names it.

    Raises InvalidId outside the id pattern, NotFound for what cannot be an id of ours.
    """
    text = check_id(raw, name)
    try:
        return check_uuid(text, name)
    except InvalidId:
        raise NotFound(f"{name}: no such thing", field=name) from None


def query_of(request: WebRequest) -> bytes:
    query: bytes = request.scope["query_string"]
    return query
