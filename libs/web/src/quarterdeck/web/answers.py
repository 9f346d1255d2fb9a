"""What a handler returns: an ASGI response written without Litestar's response machinery in between.

Litestar is most of what a small request costs; this keeps the last step to two sends.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final, cast

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from quarterdeck.web.leaving import while_connected

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


class StreamedAnswer(ASGIResponse):
    """`pieces` one after the other, each sent before the next is asked for; closed when the client leaves.

    With `length`, a stream that ends early breaks the connection, so that nobody takes a part for the whole.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
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
        await while_connected(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        async with aclosing(cast("_Closable", self._pieces)) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Closable(AsyncIterator[bytes]):
    """An async generator, as all our streams are."""

    async def aclose(self) -> None: ...
