"""One agent, asked while the caller waits: its commands, its namespaces, and running something on it (S1-9 … S1-11).

A call is a command like any other: it is taken in, stored, listed, and goes on when the caller's time is over. With
`Accept: text/event-stream` a run answers with the command's event stream; where the broadcaster is not behind this
port, it answers with the place of that stream.
"""

from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from quarterdeck.api.errors import OutputTrimmed
from quarterdeck.api.forward import Forward
from quarterdeck.api.handlers.agent_calls import answer_of, check_ran, question, run_command, wait_of
from quarterdeck.api.handlers.agent_requests import RunOnAgent
from quarterdeck.api.handlers.origin import Origin, origin_of
from quarterdeck.api.output_log import OutputLog
from quarterdeck.api.parts import Parts
from quarterdeck.api.submission import submit
from quarterdeck.api.views import agent_calls as views
from quarterdeck.contracts import subjects
from quarterdeck.contracts.agent_calls import (
    LIST_COMMANDS,
    LIST_NAMESPACES,
    LinuxNamespaces,
    RemoteCommands,
)
from quarterdeck.contracts.errors import NotFound
from quarterdeck.contracts.ids import check_id
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import TERMINAL
from quarterdeck.core.store import CommandView
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.paths import WebRequest
from quarterdeck.web.watch import EVENT_STREAM

_SHOWN_BYTES: Final = 1024 * 1024
"""Of each stream, in the answer itself."""
_LAST_EVENT_ID: Final = b"last-event-id"
"""Of another stream than the one that begins now."""


def agent_call_routes(parts: Parts) -> list[HTTPRouteHandler]:
    async def ended(tenant: str, command_id: str, wait_s: float) -> CommandView:
        async def look() -> CommandView:
            view = await parts.store.command(tenant, command_id)
            if view is None:
                raise NotFound("command_id: no such command", field="command_id")
            return view

        return await parts.completions.until(
            command_id,
            subjects.ends_of_single_commands(),
            look=look,
            ended=lambda view: view.state in TERMINAL,
            wait_s=wait_s,
        )

    async def asked(request: WebRequest, command_type: str) -> CommandView:
        """The end of a call without parameters."""
        wait_s = parts.settings.run_timeout_s
        origin = Origin(request.user, parts.clock.now_ms())
        command_id = await submit(parts, question(_agent_id(request), command_type, wait_s), origin)
        return await ended(request.user.tenant, command_id, wait_s)

    @get("/api/agents/{agent_id:str}/commands")
    async def list_commands(request: WebRequest) -> Answer:
        view = await asked(request, LIST_COMMANDS)
        found = answer_of(view, parts.settings.run_timeout_s, RemoteCommands)
        return _json(
            views.AgentCommands(agent_id=view.agent_id, command_id=view.command_id, commands=found.commands)
        )

    @get("/api/agents/{agent_id:str}/namespaces")
    async def list_namespaces(request: WebRequest) -> Answer:
        view = await asked(request, LIST_NAMESPACES)
        found = answer_of(view, parts.settings.run_timeout_s, LinuxNamespaces)
        return _json(
            views.AgentNamespaces(
                agent_id=view.agent_id, command_id=view.command_id, namespaces=found.namespaces
            )
        )

    @post("/api/agents/{agent_id:str}/run")
    async def run(request: WebRequest) -> ASGIResponse:
        body = await read_body(request)
        wanted = decode_body(body, RunOnAgent)
        wait_s = wait_of(wanted, parts.settings.run_timeout_s)
        command = run_command(_agent_id(request), wanted)
        origin = origin_of(
            request.user,
            parts.clock.now_ms(),
            key=request.headers.get("idempotency-key"),
            path=request.scope["path"],
            body=body,
        )
        command_id = await submit(parts, command, origin)
        if EVENT_STREAM in request.headers.get("accept", ""):
            return _Stream(command_id, parts.settings.broadcaster_url)
        view = await ended(request.user.tenant, command_id, wait_s)
        check_ran(view, wait_s)
        log = OutputLog(parts.bus, view, view.attempt)
        return _json(
            views.run_ended(
                view,
                stdout=await _first_bytes(log, OutputStream.STDOUT),
                stderr=await _first_bytes(log, OutputStream.STDERR),
            )
        )

    return [list_commands, list_namespaces, run]


class _Stream(ASGIResponse):
    """The event stream of a command that was just made, in the answer to its creation."""

    def __init__(self, command_id: str, broadcaster_url: str | None) -> None:
        self._path = f"/api/command/{command_id}/events"
        self._url = broadcaster_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._url is None:
            return await _see_other(self._path, send)
        watching: Any = {
            **scope,
            "method": "GET",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": [(name, text) for name, text in scope["headers"] if name != _LAST_EVENT_ID],
        }
        return await Forward(_nobody, self._url)(watching, receive, send)


async def _see_other(path: str, send: Send) -> None:
    """An ingress routes event streams. Source: RFC 9110 §15.4.4."""
    headers = [(b"location", path.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _nobody(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """What lies behind Forward; a watch path never comes here."""


async def _first_bytes(log: OutputLog, stream: OutputStream) -> bytes:
    """What is shown of a stream: nothing where the log lost its beginning, which its download tells in full."""
    try:
        extent = await log.extent(stream, 0)
    except OutputTrimmed:
        return b""
    async with aclosing(log.read(stream, 0, min(extent.end, _SHOWN_BYTES))) as pieces:
        return b"".join([piece async for piece in pieces])


def _agent_id(request: WebRequest) -> str:
    return check_id(request.path_params["agent_id"], "agent_id")


def _json(body: msgspec.Struct) -> Answer:
    return Answer(msgspec.json.encode(body))
