"""Agents, as the registry knows them. Reading only: agents enrol and revoke elsewhere."""

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.requests import AgentsQuery
from quarterdeck.api.parts import Parts
from quarterdeck.api.views import agents
from quarterdeck.contracts.errors import UnknownAgent
from quarterdeck.contracts.ids import check_id
from quarterdeck.web.answers import Answer
from quarterdeck.web.decoding import decode_query
from quarterdeck.web.paths import WebRequest, query_of


def agent_routes(parts: Parts) -> list[HTTPRouteHandler]:
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
        tenant = request.user.tenant
        agent_id = check_id(request.path_params["agent_id"], "agent_id")
        record = parts.fleet.record(tenant, agent_id)
        if record is None:
            raise UnknownAgent((agent_id,), field="agent_id")
        shown = agents.agent(record, parts.roster.find(tenant, agent_id))
        return Answer(msgspec.json.encode(agents.OneAgent(agent=shown)))

    return [show_many, show]
