"""Rows of the table of operations that concern agents: listing, registering, revoking, and asking one while waiting."""

from typing import Final

from quarterdeck.api.handlers import agent_requests, requests
from quarterdeck.api.views import agent_calls, agents
from quarterdeck.web.operations import Operation

AGENT_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/agents",
        action="agent.read",
        summary="List agents.",
        query=requests.AgentsQuery,
        answers={200: agents.ManyAgents},
    ),
    Operation(
        method="POST",
        path="/api/agents",
        action="agent.enrol",
        summary="Register an agent of another protocol; a secret of it is answered once.",
        request=agent_requests.RegisterAgent,
        answers={201: agents.RegisteredAgent},
    ),
    Operation(
        method="GET",
        path="/api/agents/{agent_id}",
        action="agent.read",
        summary="Show an agent.",
        answers={200: agents.OneAgent},
    ),
    Operation(
        method="DELETE",
        path="/api/agents/{agent_id}",
        action="agent.revoke",
        summary="Revoke an agent: its link ends, and nothing comes from it any more.",
        answers={204: ""},
    ),
    Operation(
        method="GET",
        path="/api/agents/{agent_id}/commands",
        action="agent.ask",
        summary="Ask an agent which commands it knows by name.",
        answers={200: agent_calls.AgentCommands},
    ),
    Operation(
        method="GET",
        path="/api/agents/{agent_id}/namespaces",
        action="agent.ask",
        summary="Ask an agent which Linux namespaces its machine has.",
        answers={200: agent_calls.AgentNamespaces},
    ),
    Operation(
        method="POST",
        path="/api/agents/{agent_id}/run",
        action="command.create",
        summary="Run a command on an agent and wait for its end, or follow it by Accept.",
        request=agent_requests.RunOnAgent,
        answers={200: agent_calls.RunEnded},
        headers=("Accept", "Idempotency-Key"),
    ),
)
