"""Single commands: submit, look, list, stop."""

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.origin import origin_of
from quarterdeck.api.handlers.requests import CommandsQuery, SubmitCommand, WaitQuery
from quarterdeck.api.parts import Parts
from quarterdeck.api.submission import submit as submit_command
from quarterdeck.api.views import seed0
from quarterdeck.contracts import subjects
from quarterdeck.contracts.errors import NotFound
from quarterdeck.contracts.ids import check_id
from quarterdeck.contracts.states import TERMINAL, CommandState
from quarterdeck.core.store import CommandView
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body, decode_query
from quarterdeck.web.paths import WebRequest, path_id, query_of


def command_routes(parts: Parts) -> list[HTTPRouteHandler]:
    async def look(tenant: str, command_id: str) -> CommandView:
        view = await parts.store.command(tenant, command_id)
        if view is None:
            raise NotFound("command_id: no such command", field="command_id")
        return view

    @post("/api/command")
    async def submit(request: WebRequest) -> Answer:
        body = await read_body(request)
        asked = decode_body(body, SubmitCommand)
        origin = origin_of(
            request.user,
            parts.clock.now_ms(),
            key=request.headers.get("idempotency-key"),
            path="/api/command",
            body=body,
        )
        command_id = await submit_command(parts, asked, origin)
        return Answer(msgspec.json.encode(seed0.Submitted(command_id=command_id)), status=202)

    @get("/api/command/{command_id:str}")
    async def show(request: WebRequest) -> Answer:
        query = decode_query(query_of(request), WaitQuery)
        tenant, command_id = request.user.tenant, path_id(request, "command_id")
        view = await look(tenant, command_id)
        if query.wait:
            view = await parts.completions.until(
                command_id,
                subjects.ends_of_children(tenant, view.batch_id)
                if view.batch_id
                else subjects.ends_of_single_commands(),
                look=lambda: look(tenant, command_id),
                ended=lambda seen: seen.state in TERMINAL,
                wait_s=query.wait,
            )
        return Answer(seed0.one_command(view))

    @get("/api/commands")
    async def show_many(request: WebRequest) -> Answer:
        query = decode_query(query_of(request), CommandsQuery)
        agent_id = None if query.client_id is None else check_id(query.client_id, "client_id")
        tenant = request.user.tenant
        page = await parts.store.list_commands(
            tenant,
            agent_id=agent_id,
            states=seed0.states_filter(query.status),
            limit=query.limit,
            cursor=query.cursor,
        )
        views = await parts.store.commands(tenant, page.ids)
        return Answer(
            seed0.many_commands(views, total=page.total, next_cursor=page.next_cursor, status=query.status)
        )

    @post("/api/command/{command_id:str}/terminate")
    async def stop(request: WebRequest) -> Answer:
        tenant = request.user.tenant
        view = await look(tenant, path_id(request, "command_id"))
        state = await parts.halts.command(tenant, view)
        answer = seed0.Stopping(
            command_id=view.command_id, status=seed0.status_of_state(state), message=stop_message(state)
        )
        return Answer(msgspec.json.encode(answer), status=202)

    return [submit, show, show_many, stop]


def stop_message(state: CommandState) -> str:
    """What asking for an end meant, by the state that it left."""
    if state is CommandState.TERMINATING:
        return "Termination requested"
    return "Terminated before it started" if state is CommandState.TERMINATED else "Already finished"
