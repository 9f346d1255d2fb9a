"""Sessions over HTTP: the user is the token's principal, all else is core/conversations' (seed 3)."""

from functools import cache

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Raw

from quarterdeck.api.handlers.session_requests import CreateSession, SubmitSessionCommand, one_key
from quarterdeck.api.handlers.specs import payload_bytes
from quarterdeck.api.parts import Parts
from quarterdeck.api.views import sessions as shapes
from quarterdeck.contracts.events import rfc3339
from quarterdeck.core.conversations import (
    ConversationCommandService,
    ConversationErrorHandler,
    SessionRequest,
)
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.paths import WebRequest


def session_routes(parts: Parts) -> list[HTTPRouteHandler]:
    errors = ConversationErrorHandler()

    async def admit(asked: SessionRequest) -> None:
        await parts.intake.admit(asked.tenant, asked.user_id, asked.spec, commands=1)

    @cache
    def service_of(tenant: str) -> ConversationCommandService:
        return ConversationCommandService(parts.store, parts.relay, parts.clock, tenant=tenant, admit=admit)

    @post("/api/sessions")
    async def create(request: WebRequest) -> Answer:
        user, body = request.user, await read_body(request) or b"{}"
        with errors.handling("", user.name):
            owner = decode_body(body, CreateSession).owner
        session = await service_of(user.tenant).create_session(user.name if owner is None else owner)
        answer = shapes.Session(
            session_id=session.session_id, owner=session.owner, created_at=rfc3339(session.created_at_ms)
        )
        return Answer(msgspec.json.encode(answer), status=201)

    @post("/api/sessions/{session_id:str}/commands")
    async def enqueue(request: WebRequest) -> Answer:
        user, session_id, body = request.user, request.path_params["session_id"], await read_body(request)
        with errors.handling(session_id, user.name):
            asked = decode_body(body, SubmitSessionCommand)
            key = one_key(request.headers.get("idempotency-key"), asked.idempotency_key)
        command = await service_of(user.tenant).submit(
            user.name,
            session_id,
            command_type=asked.command_type,
            payload=Raw(payload_bytes(asked.payload)),
            idempotency_key=key,
        )
        return Answer(msgspec.json.encode(shapes.OneSessionCommand(command=command)), status=202)

    @get("/api/sessions/{session_id:str}/commands/{command_id:str}")
    async def show(request: WebRequest) -> Answer:
        user, of = request.user, request.path_params
        command = await service_of(user.tenant).command(user.name, of["session_id"], of["command_id"])
        return Answer(msgspec.json.encode(shapes.OneSessionCommand(command=command)))

    @get("/api/sessions/{session_id:str}/pending-command")
    async def show_pending(request: WebRequest) -> Answer:
        user = request.user
        command = await service_of(user.tenant).pending(user.name, request.path_params["session_id"])
        return Answer(msgspec.json.encode(shapes.pending_command(command)))

    return [create, enqueue, show, show_pending]
