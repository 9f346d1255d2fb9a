"""A WebSocket client as a test uses it: messages in their order, and the code at the end."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.api.deck import TOKEN, Deck


class Wire:
    """`closed`: (code, reason) once the other side has ended."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.closed: tuple[int, str] | None = None

    async def next(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        try:
            text = await self.connection.recv()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            self.closed = (end.rcvd.code, end.rcvd.reason)
            return None
        message: dict[str, Any] = msgspec.json.decode(text)
        return message

    async def until(self, kind: str, **payload: Any) -> list[dict[str, Any]]:
        """Messages up to and with the first `kind` whose payload has these members."""
        messages: list[dict[str, Any]] = []
        while (message := await self.next()) is not None:
            messages.append(message)
            if message["type"] == kind and payload.items() <= message["payload"].items():
                return messages
        raise AssertionError(f"ended with {self.closed} without {kind} {payload}: {messages}")

    async def rest(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while (message := await self.next()) is not None:
            messages.append(message)
        return messages

    async def say(self, kind: str, **payload: Any) -> None:
        await self.connection.send(msgspec.json.encode({"type": kind, "payload": payload}).decode())


def wired(
    deck: Deck, batch_id: str, *, token: str | None = TOKEN, **params: str
) -> AbstractAsyncContextManager[Wire]:
    """As `wired_to`, of the service that `deck` reaches."""
    return wired_to(deck.url, batch_id, token=token, **params)


@asynccontextmanager
async def wired_to(url: str, batch_id: str, *, token: str | None, **params: str) -> AsyncIterator[Wire]:
    """A WebSocket of the batch, open until the block ends."""
    socket = url.rstrip("/").replace("http", "ws", 1) + f"/api/batch_commands/{batch_id}/ws"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    query = f"?{urlencode(params)}" if params else ""
    async with connect(socket + query, additional_headers=headers, proxy=None) as connection:
        yield Wire(connection)


def bytes_of(messages: list[dict[str, Any]], child_id: str, stream: str = "STDOUT") -> bytes:
    """What a child's NEW_LOG_OUTPUT messages say it printed, in their order; offsets must follow on each other."""
    printed = b""
    for message in messages:
        payload = message["payload"]
        if message["type"] != "NEW_LOG_OUTPUT" or (payload["child_command_id"], payload["stream_type"]) != (
            child_id,
            stream,
        ):
            continue
        exact = payload["chunk_base64"]
        chunk = payload["chunk"].encode() if exact is None else base64.b64decode(exact)
        assert (payload["offset"], payload["length"]) == (len(printed), len(chunk))
        printed += chunk
    return printed


def statuses_of(messages: list[dict[str, Any]], child_id: str) -> list[str]:
    """What was told of one child, in its order."""
    return [
        message["payload"]["status"]
        for message in messages
        if message["type"] == "CHILD_TASK_UPDATE" and message["payload"]["child_command_id"] == child_id
    ]
