"""The outermost ASGI layer of both HTTP services: who is it, which trace does it belong to, how did it end.

Owns authentication, so that no route can forget it; what the caller may do is decided behind it (operations.py). Until
the registry is in memory it knows no token and no agent, and says 503: a restart must not look like a refusal.
"""

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck.contracts.errors import NotAuthenticated, QuarterdeckError, Unavailable
from quarterdeck.core import metrics, telemetry
from quarterdeck.core.runtime import Health
from quarterdeck.web.problems import MEDIA_TYPE, Problem
from quarterdeck.web.sockets import Socket
from quarterdeck.web.tickets import Tickets
from quarterdeck.web.tokens import Authenticator, Principal

_UNMATCHED: Final = "unmatched"
_SWITCHED: Final = 101
"""How a WebSocket that came in is counted; one that was refused, by its close code."""
_TRACEPARENT: Final = b"traceparent"


class Gate:
    """`ticket_paths`: where `?ticket=` opens as a token does. `public_paths`: where nothing is asked for."""

    def __init__(
        self,
        application: ASGIApp,
        authenticator: Authenticator,
        tickets: Tickets,
        health: Health,
        *,
        public_paths: frozenset[str],
        ticket_paths: re.Pattern[str],
        problem: Callable[[QuarterdeckError, str], Problem],
    ) -> None:
        self.application = application
        self._authenticator = authenticator
        self._tickets = tickets
        self._health = health
        self._public_paths = public_paths
        self._ticket_paths = ticket_paths
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            return await self._socket(scope, receive, send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status = 500

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["path"] not in self._public_paths:
                scope["user"] = await self._principal(scope, headers)
        except QuarterdeckError as error:
            await send_problem(self._problem(error, scope["path"]), counted_send)
        else:
            traceparent = headers.get(_TRACEPARENT)
            parent = {_TRACEPARENT.decode(): traceparent.decode("latin-1")} if traceparent else None
            with telemetry.span(telemetry.HTTP_REQUEST, parent):
                await self.application(scope, receive, counted_send)
        finally:
            route = scope.get("path_template") or _UNMATCHED
            metrics.HTTP_REQUESTS.labels(route, str(status)).inc()
        return None

    async def _socket(self, scope: Any, receive: Receive, send: Send) -> None:
        """As for a request. No path is public: a WebSocket always belongs to somebody."""
        status = _SWITCHED
        try:
            scope["user"] = await self._principal(scope, dict(scope["headers"]))
        except QuarterdeckError as error:
            socket = Socket(scope, receive, send)
            await socket.accept()
            status = await socket.refuse(self._problem(error, scope["path"]))
        else:
            await self.application(scope, receive, send)
        finally:
            metrics.HTTP_REQUESTS.labels(scope.get("path_template") or _UNMATCHED, str(status)).inc()

    async def _principal(self, scope: Any, headers: dict[bytes, bytes]) -> Principal:
        """Raises NotAuthenticated, Unavailable."""
        if not self._health.started:
            raise Unavailable(f"{self._health.service} is starting", retry_after_s=1)
        authorization = headers.get(b"authorization")
        if authorization is None and scope["query_string"] and self._ticket_paths.fullmatch(scope["path"]):
            ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
            if ticket is None:
                raise NotAuthenticated("send a bearer token or `?ticket=`", field="Authorization")
            return await self._tickets.redeem(ticket[0])
        return self._authenticator.by_header(authorization)


async def send_problem(problem: Problem, send: Send) -> None:
    """A problem document as a whole ASGI response."""
    body = problem.body
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
