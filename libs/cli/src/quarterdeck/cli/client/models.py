"""Answers of the REST API, as far as the command line reads them. Unknown members are ignored: contracts only grow."""

from typing import Any

import msgspec


class BatchAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """202 of POST /api/command/batch and /api/batch_commands."""

    batch_command_id: str
    status: str = ""
    message: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One child of a batch."""

    child_command_id: str
    vps_id: str
    """The target: `agent` or `agent/guest`."""
    vps_name: str | None = None
    status: str
    """Seed 4's name of the state, such as SUCCESS or AGENT_UNREACHABLE."""
    exit_code: int | None = None
    output_stream_summary: list[str] | None = None
    error_message: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    overall_status: str
    execution_alias: str | None = None
    tasks: list[Task] = []
    created_at: str | None = None
    updated_at: str | None = None
    counts: dict[str, int] = {}


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    total: int = 0
    batch_commands: list[Batch] = []
    next_cursor: str | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command in seed 0's form."""

    command_id: str
    client_id: str
    command_type: str
    status: str
    """Seed 0's name: pending, executing, completed, failed, timeout."""
    payload: Any = None
    result: Any = None
    error: str | None = None
    created_at: str | None = None
    sent_at: str | None = None
    completed_at: str | None = None
    state: str | None = None
    """The unified state, where the server tells it."""
    exit_code: int | None = None
    batch_id: str | None = None


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    total: int = 0
    commands: list[Command] = []
    next_cursor: str | None = None


class LinkOf(msgspec.Struct, frozen=True, kw_only=True):
    carrier: str
    gateway_id: str
    dialect: str = "native"
    epoch: str | None = None
    since: str | None = None


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str
    name: str = ""
    labels: dict[str, str] = {}
    facts: dict[str, str] = {}
    connected: bool = False
    link: LinkOf | None = None
    last_seen: str | None = None
    version: str = ""
    capabilities: list[str] = []
    guests: list[str] = []
    revoked: bool = False


class RegisteredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` is in this answer alone; agents of some protocols have none."""

    agent: Agent
    secret: str | None = None


class AgentPage(msgspec.Struct, frozen=True, kw_only=True):
    total: int = 0
    agents: list[Agent] = []
    next_cursor: str | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An API token's record. `token` is in the answer to its creation alone."""

    token_id: str
    principal: str = ""
    created_at: str | None = None
    expires_at: str | None = None
    token: str | None = None


class TokenPage(msgspec.Struct, frozen=True, kw_only=True):
    tokens: list[Token] = []


class JoinToken(msgspec.Struct, frozen=True, kw_only=True):
    join_token: str
    token_id: str | None = None
    expires_at: str | None = None
    uses: int | None = None
