"""What opens doors: API tokens, join tokens for agents, tickets for event streams. Secrets are shown once."""

import ssl
from pathlib import Path

import msgspec
import structlog
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.requests import CreateJoinToken, CreateToken
from quarterdeck.api.parts import Parts
from quarterdeck.api.views import agents as shapes
from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.agents import ApiToken, JoinToken
from quarterdeck.contracts.errors import NotFound, UnsupportedValue
from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.ids import check_id, new_id
from quarterdeck.core.registry.keys import api_token_key, join_token_key
from quarterdeck.web.answers import Answer, NoContent
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.paths import WebRequest, path_id
from quarterdeck.web.tickets import LIFETIME_S
from quarterdeck.web.tokens import new_token_text, token_hash
from quarterdeck.wire import join_token

log = structlog.get_logger()


def token_routes(parts: Parts) -> list[HTTPRouteHandler]:
    @post("/api/tokens")
    async def create(request: WebRequest) -> Answer:
        asked = decode_body(await read_body(request), CreateToken)
        now_ms = parts.clock.now_ms()
        text = new_token_text()
        token = ApiToken(
            token_id=new_id(),
            tenant=request.user.tenant,
            principal=check_id(asked.principal, "principal"),
            created_at_ms=now_ms,
            expires_at_ms=None if asked.expires_in_s is None else now_ms + asked.expires_in_s * 1000,
        )
        await parts.registry.tokens.create(api_token_key(token_hash(text)), token)
        log.info("api.token_created", token_id=token.token_id, principal=token.principal)
        answer = shapes.NewToken(
            token_id=token.token_id,
            principal=token.principal,
            expires_at=maybe_rfc3339(token.expires_at_ms),
            token=text,
        )
        return Answer(msgspec.json.encode(answer), status=201)

    @get("/api/tokens")
    async def show_many(request: WebRequest) -> Answer:
        tokens = [
            shapes.token(entry.value)
            for entry in parts.registry.tokens.current.values()
            if isinstance(entry.value, ApiToken) and entry.value.tenant == request.user.tenant
        ]
        tokens.sort(key=lambda token: token.token_id)
        return Answer(msgspec.json.encode(shapes.ManyTokens(total=len(tokens), tokens=tokens)))

    @delete(
        "/api/tokens/{token_id:str}", status_code=200
    )  # Litestar takes no body type for 204; the answer says it
    async def revoke(request: WebRequest) -> NoContent:
        token_id = path_id(request, "token_id")
        for key, entry in parts.registry.tokens.current.items():
            token = entry.value
            if isinstance(token, ApiToken) and (token.tenant, token.token_id) == (
                request.user.tenant,
                token_id,
            ):
                await parts.registry.tokens.delete(key)
                log.info("api.token_revoked", token_id=token_id)
                return NoContent()
        raise NotFound("token_id: no such token", field="token_id")

    @post("/api/tokens/join")
    async def create_join(request: WebRequest) -> Answer:
        asked = decode_body(await read_body(request) or b"{}", CreateJoinToken)
        now_ms = parts.clock.now_ms()
        token = JoinToken(
            token_id=new_id(),
            tenant=request.user.tenant,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + asked.ttl_s * 1000,
            uses_left=asked.uses,
            labels=asked.labels,
        )
        text = join_token.JoinToken.create(_ca_der(parts.settings.ca_path))
        await parts.registry.tokens.create(join_token_key(join_token.secret_hash(text.secret)), token)
        log.info("api.join_token_created", token_id=token.token_id, uses=asked.uses)
        answer = shapes.NewJoinToken(
            token_id=token.token_id,
            join_token=str(text),
            expires_at=rfc3339(token.expires_at_ms),
            uses=asked.uses,
        )
        return Answer(msgspec.json.encode(answer), status=201)

    @post("/api/tickets")
    async def create_ticket(request: WebRequest) -> Answer:
        ticket = await parts.tickets.issue(request.user)
        return Answer(
            msgspec.json.encode(shapes.NewTicket(ticket=ticket, expires_in_s=LIFETIME_S)), status=201
        )

    return [create, show_many, revoke, create_join, create_ticket]


def _ca_der(ca_path: Path | None) -> bytes:
    """Raises UnsupportedValue where this service was given no CA."""
    if ca_path is None:
        raise UnsupportedValue("join tokens are not made here: the service has no ca_path", field="ca_path")
    return ssl.PEM_cert_to_DER_cert(ca_path.read_text(encoding="ascii"))
