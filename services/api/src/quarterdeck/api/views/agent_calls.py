"""What a caller hears who waited for an agent: its commands, its namespaces, or what a command did."""

import msgspec

from quarterdeck.contracts.agent_calls import LinuxNamespace, RemoteCommand
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import CommandView


class AgentCommands(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    agent_id: str
    command_id: str
    """Of the command that asked."""
    commands: list[RemoteCommand]


class AgentNamespaces(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    agent_id: str
    command_id: str
    namespaces: list[LinuxNamespace]


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    agent_id: str
    command_id: str
    state: str
    exit_code: int | None
    signal: int | None
    error: str
    stdout: str
    """The first bytes, as text; what is no UTF-8 shows as U+FFFD."""
    stderr: str
    stdout_bytes: int
    """All that is kept; the rest is at /api/command/{command_id}/output."""
    stderr_bytes: int


def run_ended(view: CommandView, *, stdout: bytes, stderr: bytes) -> RunEnded:
    return RunEnded(
        success=view.state is CommandState.SUCCEEDED,
        agent_id=view.agent_id,
        command_id=view.command_id,
        state=view.state,
        exit_code=view.exit_code,
        signal=view.signal,
        error=view.error or "",
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        stdout_bytes=view.stdout.length,
        stderr_bytes=view.stderr.length,
    )
