"""Batches: seed 4's paths, and seed 0's batch beside them."""

import msgspec
import structlog
from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.batches import batch_spec, client_batch_spec, new_batch
from quarterdeck.api.handlers.origin import origin_of
from quarterdeck.api.handlers.requests import BatchQuery, PageQuery, SubmitBatch, SubmitClientBatch
from quarterdeck.api.handlers.targets import check_known, parse_targets
from quarterdeck.api.parts import Parts
from quarterdeck.api.routes.commands import stop_message
from quarterdeck.api.views import seed0, seed4
from quarterdeck.contracts import subjects
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import NotFound
from quarterdeck.contracts.states import BATCH_TERMINAL, BatchState
from quarterdeck.core.store import BatchView
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body, decode_query
from quarterdeck.web.paths import WebRequest, path_id, query_of
from quarterdeck.web.tasks import STATUS_OF

log = structlog.get_logger()


def batch_routes(parts: Parts) -> list[HTTPRouteHandler]:
    async def look(tenant: str, batch_id: str) -> BatchView:
        view = await parts.store.batch(tenant, batch_id)
        if view is None:
            raise NotFound("batch_command_id: no such batch", field="batch_command_id")
        return view

    async def take(
        request: WebRequest, body: bytes, spec: CommandSpec, texts: list[str], field: str, alias: str | None
    ) -> str:
        tenant = request.user.tenant
        if parts.limits.policies.needs_approval(tenant, spec.command_type):
            spec = msgspec.structs.replace(spec, needs_approval=True)
        targets = parse_targets(texts, field=field)
        known = await parts.fleet.known(tenant, {target.agent_id for target in targets})
        check_known(targets, known, field=field)
        origin = origin_of(
            request.user,
            parts.clock.now_ms(),
            key=request.headers.get("idempotency-key"),
            path=request.scope["path"],
            body=body,
        )
        taken = await parts.intake.batch(new_batch(spec, targets, origin, body=body, alias=alias))
        log.info(
            "api.batch_sent",
            batch_id=taken.subject_id,
            command_type=spec.command_type,
            targets=len(targets),
            timeout_ms=spec.timeout_ms,
        )
        return taken.subject_id

    @post("/api/batch_commands")
    async def submit(request: WebRequest) -> Answer:
        body = await read_body(request)
        asked = decode_body(body, SubmitBatch)
        spec = batch_spec(asked)
        batch_id = await take(
            request, body, spec, asked.target_vps_ids, "target_vps_ids", asked.execution_alias
        )
        return Answer(seed4.accepted(batch_id, BatchState.PENDING), status=202)

    @post("/api/command/batch")
    async def submit_for_clients(request: WebRequest) -> Answer:
        body = await read_body(request)
        asked = decode_body(body, SubmitClientBatch)
        spec = client_batch_spec(asked)
        batch_id = await take(request, body, spec, asked.client_ids, "client_ids", None)
        answer = seed0.SubmittedBatch(
            batch_command_id=batch_id, status=BatchState.PENDING, message=seed4.ACCEPTED_MESSAGE
        )
        return Answer(msgspec.json.encode(answer), status=202)

    @get("/api/batch_commands")
    async def show_many(request: WebRequest) -> Answer:
        query = decode_query(query_of(request), PageQuery)
        tenant = request.user.tenant
        page = await parts.store.list_batches(tenant, limit=query.limit, cursor=query.cursor)
        views = await parts.store.batches(tenant, page.ids)
        return Answer(seed4.many_batches(views, total=page.total, next_cursor=page.next_cursor))

    @get("/api/batch_commands/{batch_command_id:str}")
    async def show(request: WebRequest) -> Answer:
        query = decode_query(query_of(request), BatchQuery)
        tenant, batch_id = request.user.tenant, path_id(request, "batch_command_id")
        view = await parts.completions.until(
            batch_id,
            subjects.ends_of_batches(),
            look=lambda: look(tenant, batch_id),
            ended=lambda seen: seen.state in BATCH_TERMINAL,
            wait_s=query.wait,
        )
        children = await parts.store.children(view, offset=query.offset, limit=query.limit)
        return Answer(seed4.batch(view, children, lambda agent_id: parts.fleet.name(tenant, agent_id)))

    @post("/api/batch_commands/{batch_command_id:str}/terminate")
    async def stop(request: WebRequest) -> Answer:
        batch_id = path_id(request, "batch_command_id")
        state = await parts.halts.batch(request.user.tenant, batch_id)
        message = "Already finished" if state in BATCH_TERMINAL else "Termination requested"
        answer = seed4.StoppingBatch(batch_command_id=batch_id, status=state, message=message)
        return Answer(msgspec.json.encode(answer), status=202)

    @post("/api/batch_commands/{batch_command_id:str}/tasks/{child_command_id:str}/terminate")
    async def stop_task(request: WebRequest) -> Answer:
        view = await look(request.user.tenant, path_id(request, "batch_command_id"))
        command_id = path_id(request, "child_command_id")
        state = await parts.halts.child(view, command_id)
        answer = seed4.StoppingTask(
            batch_command_id=view.batch_id,
            child_command_id=command_id,
            status=STATUS_OF[state],
            message=stop_message(state),
        )
        return Answer(msgspec.json.encode(answer), status=202)

    return [submit, submit_for_clients, show_many, show, stop, stop_task]
