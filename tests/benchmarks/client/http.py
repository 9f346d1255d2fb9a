"""A keep-alive HTTP/1.1 client that costs little, so that the load generator is not what is measured.

One request at a time per connection; answers are read whole. httpx needs about 500 µs of CPU per request, this 30.
"""

import asyncio
from typing import Any, NamedTuple, Self, cast

import httptools
import msgspec


class Response(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class UnexpectedStatus(Exception):
    def __init__(self, path: str, response: Response) -> None:
        super().__init__(f"{path}: {response.status} {response.body[:500]!r}")
        self.response = response


class Endpoint(NamedTuple):
    """Where the API listens, and who asks."""

    host: str
    port: int
    token: str

    def head(self, method: str, path: str, *more: str) -> bytes:
        """A request up to its last header line, without the empty line after it."""
        lines = (
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"Authorization: Bearer {self.token}",
            *more,
        )
        return "\r\n".join(lines).encode() + b"\r\n"


class HttpConnection(asyncio.Protocol):
    """Made by `open`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[Response] | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, endpoint.host, endpoint.port)
        return protocol

    async def send(self, head: bytes, body: bytes = b"") -> Response:
        """`head`: from Endpoint.head. Raises ConnectionError."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._parts = []
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        if self._parser is not None:
            self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    # ---- httptools

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if self._answer is not None and self._parser is not None and not self._answer.done():
            self._answer.set_result(Response(self._parser.get_status_code(), b"".join(self._parts)))


class HttpPool:
    """`size` connections: so many requests may be under way."""

    def __init__(self, endpoint: Endpoint, connections: list[HttpConnection]) -> None:
        self.endpoint = endpoint
        self._all = connections
        self._free: asyncio.LifoQueue[HttpConnection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)

    @classmethod
    async def open(cls, endpoint: Endpoint, size: int) -> Self:
        return cls(endpoint, [await HttpConnection.open(endpoint) for _ in range(size)])

    async def send(self, head: bytes, body: bytes = b"") -> Response:
        """Waits for a free connection."""
        connection = await self._free.get()
        try:
            return await connection.send(head, body)
        finally:
            self._free.put_nowait(connection)

    async def get(self, path: str) -> Any:
        """The JSON of a 200. Raises UnexpectedStatus."""
        response = await self.send(self.endpoint.head("GET", path))
        if response.status != 200:
            raise UnexpectedStatus(path, response)
        return response.json()

    async def post(self, path: str, body: Any) -> Any:
        """The JSON of a 2xx. Raises UnexpectedStatus."""
        head = self.endpoint.head("POST", path, "Content-Type: application/json")
        response = await self.send(head, msgspec.json.encode(body))
        if not 200 <= response.status < 300:
            raise UnexpectedStatus(path, response)
        return response.json()

    def close(self) -> None:
        for connection in self._all:
            connection.close()
