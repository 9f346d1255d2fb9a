"""What a handler returns: an ASGI response written without Litestar's response machinery in between.

Litestar is most of what a small request costs; this keeps the last step to two sends.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from quarterdeck.web.leaving import while_connected
from quarterdeck.web.stalling import ClientStalled, send_within

log = structlog.get_logger()

JSON: Final = b"application/json"

RawHeaders = tuple[tuple[bytes, bytes], ...]


class Answer(ASGIResponse):
    """`body` as it is, with its length."""

    def __init__(
        self, body: bytes, *, status: int = 200, media_type: bytes = JSON, headers: RawHeaders = ()
    ) -> None:
        self._body = body
        self._status = status
        self._headers = [
            (b"content-type", media_type),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class NoContent(ASGIResponse):
    """204, which has neither body nor length. Source: RFC 9110 §8.6."""

    def __init__(self) -> None:
        """Nothing to keep; the base class would prepare a body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class StreamedAnswer(ASGIResponse):
    """`pieces` one after the other, each sent before the next is asked for; closed when the client leaves.

    With `length`, a stream that ends early breaks the connection, so that nobody takes a part for the whole.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: bytes,
        status: int = 200,
        length: int | None = None,
        headers: RawHeaders = (),
    ) -> None:
        self._pieces = pieces
        self._status = status
        self._headers = [
            (b"content-type", media_type),
            *([(b"content-length", str(length).encode())] if length is not None else []),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send_all(scope, send))
        except ClientStalled:
            log.info("web.download_cut", route=scope.get("path_template"))

    async def _send_all(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await send_within(
                    scope, send, {"type": "http.response.body", "body": piece, "more_body": True}
                )
        await send({"type": "http.response.body", "body": b"", "more_body": False})
