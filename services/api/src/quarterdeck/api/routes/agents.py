"""Agents, as the registry knows them: listed, those of other protocols registered, any of them revoked.

Agents of ours enrol by themselves, at a gateway, with a join token.
"""

import hashlib
import secrets
from typing import Final

import msgspec
import structlog
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.agent_requests import RegisterAgent
from quarterdeck.api.handlers.registration import new_record
from quarterdeck.api.handlers.requests import AgentsQuery
from quarterdeck.api.parts import Parts
from quarterdeck.api.revocation import tell_revoked
from quarterdeck.api.views import agents
from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.errors import UnknownAgent
from quarterdeck.contracts.ids import check_id
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.web.answers import Answer, NoContent
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body, decode_query
from quarterdeck.web.paths import WebRequest, query_of

log = structlog.get_logger()

_SECRET_BYTES: Final = 32


def agent_routes(parts: Parts) -> list[HTTPRouteHandler]:
    foreign = ForeignAgents(parts.registry)

    @get("/api/agents")
    async def show_many(request: WebRequest) -> Answer:
        query = decode_query(query_of(request), AgentsQuery)
        tenant = request.user.tenant
        shown = [
            agents.agent(entry.value, parts.roster.find(tenant, entry.value.agent_id))
            for entry in parts.registry.agents.current.values()
            if entry.value.tenant == tenant
        ]
        fitting = sorted(
            (agent for agent in shown if agents.fits(agent, query.label, query.connected)),
            key=lambda agent: agent.agent_id,
        )
        return Answer(msgspec.json.encode(agents.ManyAgents(total=len(fitting), agents=fitting)))

    @get("/api/agents/{agent_id:str}")
    async def show(request: WebRequest) -> Answer:
        tenant, agent_id = request.user.tenant, _agent_id(request)
        record = parts.fleet.record(tenant, agent_id)
        if record is None:
            raise UnknownAgent((agent_id,), field="agent_id")
        shown = agents.agent(record, parts.roster.find(tenant, agent_id))
        return Answer(msgspec.json.encode(agents.OneAgent(agent=shown)))

    @post("/api/agents")
    async def register(request: WebRequest) -> Answer:
        """The same request again is the same agent; one that has a secret gets a new one, and the old one is void."""
        asked = decode_body(await read_body(request), RegisterAgent)
        wanted = new_record(asked, request.user.tenant, parts.clock.now_ms())
        secret = secrets.token_urlsafe(_SECRET_BYTES) if wanted.dialect is Dialect.AGENT_SERVICE else None
        secret_sha256 = hashlib.sha256(secret.encode()).digest() if secret else b""
        record = await foreign.register(wanted, secret_sha256)
        log.info("api.agent_registered", agent_id=record.agent_id, dialect=str(record.dialect))
        shown = agents.agent(record, parts.roster.find(record.tenant, record.agent_id))
        answer = agents.RegisteredAgent(success=True, agent=shown, secret=secret)
        return Answer(msgspec.json.encode(answer), status=201)

    @delete(
        "/api/agents/{agent_id:str}", status_code=200
    )  # Litestar takes no body type for 204; the answer says it
    async def revoke(request: WebRequest) -> NoContent:
        """Gateways end its link when they hear of it. Any number of calls."""
        tenant, agent_id = request.user.tenant, _agent_id(request)
        if await foreign.revoke(tenant, agent_id) is None:
            raise UnknownAgent((agent_id,), field="agent_id")
        log.info("api.agent_revoked", agent_id=agent_id)
        await tell_revoked(parts, tenant, agent_id, request.user.name)
        return NoContent()

    return [show_many, show, register, revoke]


def _agent_id(request: WebRequest) -> str:
    return check_id(request.path_params["agent_id"], "agent_id")
