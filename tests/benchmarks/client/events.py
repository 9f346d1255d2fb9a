"""Reads server-sent events from the API, cheaply: bytes in, one callback per event, no parsing beyond the frame."""

import asyncio
from collections.abc import Callable
from typing import Self, cast

import httptools

from tests.benchmarks.client.http import Endpoint


class EventStream(asyncio.Protocol):
    """One watcher. `on_event(event)` gets each event's lines as bytes; `ended` is set when the stream is over."""

    def __init__(self, request: bytes, on_event: Callable[[bytes], None]) -> None:
        self._request = request
        self._on_event = on_event
        self._rest = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.status = 0
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()

    @classmethod
    async def open(cls, endpoint: Endpoint, path: str, on_event: Callable[[bytes], None]) -> Self:
        """Returns when the server began to answer. Raises ConnectionError when it answers anything but 200."""
        request = endpoint.head("GET", path, "Accept: text/event-stream") + b"\r\n"
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: cls(request, on_event), endpoint.host, endpoint.port)
        await stream.opened.wait()
        if stream.status != 200:
            raise ConnectionError(f"{path}: {stream.status}")
        return stream

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def stop_reading(self) -> None:
        """Become the watcher that does not read."""
        if self._transport is not None:
            self._transport.pause_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.opened.set()
        self.ended.set()

    # ---- httptools

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.opened.set()

    def on_body(self, part: bytes) -> None:
        *events, self._rest = (self._rest + part).split(b"\n\n")
        for event in events:
            self._on_event(event)

    def on_message_complete(self) -> None:
        self.ended.set()
