"""Every operation of the API: what it requires and what goes in and out. Routes that have no row here are denied."""

from typing import Final

from quarterdeck.api.agent_operations import AGENT_OPERATIONS
from quarterdeck.api.handlers import requests
from quarterdeck.api.routes.console import CONSOLE_OPERATIONS
from quarterdeck.api.session_operations import SESSION_OPERATIONS
from quarterdeck.api.views import agents, policies, seed0, seed4
from quarterdeck.core.runtime import HealthSnapshot
from quarterdeck.web.operations import PUBLIC, Operation, Operations
from quarterdeck.web.watch import WATCH_OPERATIONS

_IDEMPOTENCY: Final = ("Idempotency-Key",)
_BYTES: Final = "application/octet-stream"
_ANY_JSON: Final = "application/json"

_COMMANDS: Final = (
    Operation(
        method="POST",
        path="/api/command",
        action="command.create",
        summary="Send one command to one agent.",
        request=requests.SubmitCommand,
        answers={202: seed0.Submitted},
        headers=_IDEMPOTENCY,
    ),
    Operation(
        method="GET",
        path="/api/command/{command_id}",
        action="command.read",
        summary="Show a command; `wait` waits for its end.",
        query=requests.WaitQuery,
        answers={200: seed0.OneCommand},
    ),
    Operation(
        method="GET",
        path="/api/commands",
        action="command.read",
        summary="List commands, newest first.",
        query=requests.CommandsQuery,
        answers={200: seed0.ManyCommands},
    ),
    Operation(
        method="POST",
        path="/api/command/{command_id}/terminate",
        action="command.terminate",
        summary="Ask for a command's end.",
        answers={202: seed0.Stopping},
    ),
    Operation(
        method="GET",
        path="/api/command/{command_id}/output",
        action="command.read_output",
        summary="Download the full log: bytes with ranges, or NDJSON by Accept.",
        query=requests.OutputQuery,
        answers={200: _BYTES, 206: _BYTES, 416: _BYTES},
        headers=("Accept", "Range"),
    ),
)

_BATCHES: Final = (
    Operation(
        method="POST",
        path="/api/command/batch",
        action="batch.create",
        summary="Send one command to many agents.",
        request=requests.SubmitClientBatch,
        answers={202: seed0.SubmittedBatch},
        headers=_IDEMPOTENCY,
    ),
    Operation(
        method="POST",
        path="/api/batch_commands",
        action="batch.create",
        summary="Run a shell command on many agents.",
        request=requests.SubmitBatch,
        answers={202: seed4.AcceptedBatch},
        headers=_IDEMPOTENCY,
    ),
    Operation(
        method="GET",
        path="/api/batch_commands",
        action="batch.read",
        summary="List batches, newest first.",
        query=requests.PageQuery,
        answers={200: seed4.ManyBatches},
    ),
    Operation(
        method="GET",
        path="/api/batch_commands/{batch_command_id}",
        action="batch.read",
        summary="Show a batch and its tasks; `wait` waits for its end.",
        query=requests.BatchQuery,
        answers={200: seed4.Batch},
    ),
    Operation(
        method="POST",
        path="/api/batch_commands/{batch_command_id}/terminate",
        action="batch.terminate",
        summary="Ask for the end of all unfinished tasks.",
        answers={202: seed4.StoppingBatch},
    ),
    Operation(
        method="POST",
        path="/api/batch_commands/{batch_command_id}/tasks/{child_command_id}/terminate",
        action="batch.terminate",
        summary="Ask for the end of one task.",
        answers={202: seed4.StoppingTask},
    ),
)

_DOORS: Final = (
    Operation(
        method="GET",
        path="/api/policy",
        action="policy.read",
        summary="Show what may be ordered, and whose answers are cached.",
        answers={200: policies.Policy},
    ),
    Operation(
        method="PUT",
        path="/api/policy",
        action="policy.replace",
        summary="Replace what may be ordered, and whose answers are cached.",
        request=requests.ReplacePolicy,
        answers={200: policies.Policy},
    ),
    Operation(
        method="POST",
        path="/api/command/{command_id}/approve",
        action="command.approve",
        summary="Let a command be sent that somebody else ordered and that needs an approval.",
        answers={200: policies.Approved},
    ),
    Operation(
        method="POST",
        path="/api/batch_commands/{batch_command_id}/approve",
        action="batch.approve",
        summary="Let a batch be sent that somebody else ordered and that needs an approval.",
        answers={200: policies.Approved},
    ),
    Operation(
        method="POST",
        path="/api/tokens",
        action="token.create",
        summary="Make an API token; its text is answered once.",
        request=requests.CreateToken,
        answers={201: agents.NewToken},
    ),
    Operation(
        method="GET",
        path="/api/tokens",
        action="token.read",
        summary="List API tokens, without their texts.",
        answers={200: agents.ManyTokens},
    ),
    Operation(
        method="DELETE",
        path="/api/tokens/{token_id}",
        action="token.revoke",
        summary="Revoke an API token.",
        answers={204: ""},
    ),
    Operation(
        method="POST",
        path="/api/tokens/join",
        action="agent.enrol",
        summary="Make a join token for new agents; its text is answered once.",
        request=requests.CreateJoinToken,
        answers={201: agents.NewJoinToken},
    ),
    Operation(
        method="POST",
        path="/api/tickets",
        action="ticket.create",
        summary="Make a single-use ticket for an event stream or a download.",
        answers={201: agents.NewTicket},
    ),
)

_META: Final = (
    Operation(
        method="GET",
        path="/health/live",
        action=PUBLIC,
        summary="The process answers.",
        answers={200: _ANY_JSON},
    ),
    Operation(
        method="GET",
        path="/health/ready",
        action=PUBLIC,
        summary="The service can do its work.",
        answers={200: HealthSnapshot, 503: HealthSnapshot},
    ),
    Operation(
        method="GET",
        path="/metrics",
        action="metrics.read",
        summary="Prometheus metrics.",
        answers={200: "text/plain"},
    ),
    Operation(
        method="GET",
        path="/schema",
        action="schema.read",
        summary="This document.",
        answers={200: _ANY_JSON},
    ),
    Operation(
        method="GET",
        path="/schema/asyncapi.json",
        action="schema.read",
        summary="The events on NATS, as AsyncAPI 3.",
        answers={200: _ANY_JSON},
    ),
)

_API: Final = (*_COMMANDS, *_BATCHES, *AGENT_OPERATIONS, *SESSION_OPERATIONS, *_DOORS, *_META)

OPERATIONS: Final = Operations((*_API, *CONSOLE_OPERATIONS))

DESCRIBED: Final = (*_API, *WATCH_OPERATIONS)
"""What the OpenAPI document tells: also the paths that the broadcaster serves on the same port."""
