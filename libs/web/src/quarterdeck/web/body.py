"""Reading a request's body with a limit that holds while it is read. Leaner than Litestar's own reading."""

from typing import Any

from litestar import Request

from quarterdeck.contracts.limits import MAX_BODY_BYTES
from quarterdeck.web.errors import BodyTooLarge


async def read_body(request: Request[Any, Any, Any], limit_bytes: int = MAX_BODY_BYTES) -> bytes:
    """All of it. Raises BodyTooLarge by what Content-Length announces, or as soon as more than the limit came."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = b""
    pieces: list[bytes] = []
    size_bytes = 0
    while True:
        message: Any = await request.receive()
        piece: bytes = message.get("body", b"")
        size_bytes += len(piece)
        if size_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            body = piece
            break
        pieces.append(piece)
    return b"".join((*pieces, body)) if pieces else body
