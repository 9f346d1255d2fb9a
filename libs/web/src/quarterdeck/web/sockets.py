"""WebSockets: the protocol that the server speaks, how one is refused, and which close codes there are.

A browser tells a page nothing of a refused handshake, so a refusal is said in the open: accepted, one ERROR message,
closed. Source: RFC 6455 §7.4.2, which leaves 4000 to 4999 to applications; ours end in the HTTP status.
"""

import logging
from typing import Any, Final

import msgspec
from litestar.types import Receive, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from quarterdeck.web.problems import Problem
from quarterdeck.web.server import ABORT
from quarterdeck.web.stalling import STALL_S, ClientStalled, send_within

ENDED: Final = 1000
POLICY_VIOLATION: Final = 1008
COME_BACK: Final = 1012
"""This replica stops, or lost what it was reading: connect again, and resume."""
TRY_LATER: Final = 1013
_INTERNAL_ERROR: Final = 1011
_APPLICATION_CODES: Final = 4000

_MAX_REASON_BYTES: Final = 123
"""What a close frame has room for. Source: RFC 6455 §5.5."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, with the extension that drops a connection at once. Its own log lines would show tickets."""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        self.logger = logging.getLogger("uvicorn.websockets")

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[ABORT] = self.transport.abort
        await super().run_asgi()


class _Error(msgspec.Struct, frozen=True):
    payload: dict[str, Any]
    type: str = "ERROR"


def error_text(problem: Problem) -> str:
    """An ERROR message; its payload is the problem document that REST would answer with."""
    return msgspec.json.encode(_Error(problem.members)).decode()


def close_code(problem: Problem) -> int:
    """4401, 4403, 4404 …; 1013 where it helps to come back later, 1011 where the fault is ours."""
    match problem.status:
        case 500:
            return _INTERNAL_ERROR
        case 503:
            return TRY_LATER
        case status:
            return _APPLICATION_CODES + status


class Socket:
    """One WebSocket as its owner uses it. `stall_s`: how long one message may wait for the client to make room."""

    def __init__(self, scope: Any, receive: Receive, send: Send, *, stall_s: float = STALL_S) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stall_s = stall_s
        self._gone = False

    async def accept(self) -> None:
        """Completes the handshake."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": None, "headers": []})

    async def say(self, text: str) -> None:
        """One text message. Raises ClientStalled; OSError when the client is gone."""
        if self._gone:
            raise ConnectionResetError("the client left")
        message = {"type": "websocket.send", "text": text, "bytes": None}
        await send_within(self._scope, self._send, message, self._stall_s)  # type: ignore[arg-type]

    async def hear(self) -> bytes | None:
        """The next message; None: the client is gone."""
        message: Any = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._gone = True
            return None
        text: str | None = message.get("text")
        raw: bytes = message["bytes"] if text is None else text.encode()
        return raw

    async def close(self, code: int, reason: str = "") -> None:
        """Nothing, when the client closed first."""
        if self._gone:
            return
        short = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": short})
        except OSError:
            pass  # uvicorn's way of saying that nobody is there any more

    async def refuse(self, problem: Problem) -> int:
        """Says why not, and closes. Answers the close code."""
        code = close_code(problem)
        try:
            await self.say(error_text(problem))
        except (ClientStalled, OSError):
            return code
        await self.close(code, problem.members["detail"])
        return code
