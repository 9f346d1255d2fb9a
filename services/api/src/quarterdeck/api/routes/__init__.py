"""HTTP to calls and back, one module per resource. Thin: decode, ask, answer; what is decided is decided elsewhere."""

from typing import Any

from litestar import Request

from quarterdeck.contracts.errors import InvalidId, NotFound
from quarterdeck.contracts.ids import check_id, check_uuid
from quarterdeck.web.tokens import Principal

ApiRequest = Request[Principal, None, Any]


def path_id(request: ApiRequest, name: str) -> str:
    """A command's or batch's id in the path.

    Raises InvalidId outside the id pattern, NotFound for what cannot be an id of ours.
    """
    text: str = request.path_params[name]
    check_id(text, name)
    try:
        return check_uuid(text, name)
    except InvalidId:
        raise NotFound(f"{name}: no such thing", field=name) from None


def query_of(request: ApiRequest) -> bytes:
    query: bytes = request.scope["query_string"]
    return query
