"""Calls that every agent may answer: what commands it knows, which namespaces its machine has, one of those commands.

    command type      payload (JSON)                                      result (JSON)
    list_commands     {}                                                  RemoteCommands
    list_namespaces   {}                                                  LinuxNamespaces
    catalogue         CatalogueCall                                       none: stdout and stderr, as of a shell command

Our own agent answers them (libs/agent), the deepflow dialect translates them (LIST_COMMAND, LIST_NAMESPACE,
RUN_COMMAND), the api serves them as /api/agents/{id}/commands, /namespaces and /run. Members are named as in DeepFlow's
protocol, enums by their names there. Readers ignore members that they do not know.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

LIST_COMMANDS: Final = "list_commands"
LIST_NAMESPACES: Final = "list_namespaces"
CATALOGUE: Final = "catalogue"


class CommandParam(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a command. Its value is text that fits `regex` as a whole."""

    name: str
    regex: str = ""
    """Empty: the agent did not say."""
    required: bool = False
    param_type: Literal["PF_TEXT", "PF_BOOLEAN"] = "PF_TEXT"
    description: str = ""


class RemoteCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that an agent knows by name."""

    id: int = 0
    cmd: str
    """For people: what runs, or the command type of a handler."""
    param_names: list[str] = []
    output_format: Literal["TEXT", "BINARY"] = "TEXT"
    cmd_type: Literal["LINUX", "KUBERNETES"] = "LINUX"
    ident: str = ""
    """The name for a CatalogueCall; empty: it cannot be called so."""
    params: list[CommandParam] = []
    type_name: str = ""
    """Where it belongs, for people; `handler` for a registered command type."""


class RemoteCommands(msgspec.Struct, frozen=True, kw_only=True):
    commands: list[RemoteCommand]


class LinuxNamespace(msgspec.Struct, frozen=True, kw_only=True):
    """One namespace, by the process with the lowest pid in it."""

    id: int
    """Its inode."""
    ns_type: str
    """As in /proc/<pid>/ns: `net`, `mnt`, `pid`, …"""
    user: str = ""
    pid: int = 0
    cmd: str = ""


class LinuxNamespaces(msgspec.Struct, frozen=True, kw_only=True):
    namespaces: list[LinuxNamespace]


class CatalogueCall(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Run the command that the agent knows as `ident`."""

    ident: str
    params: dict[str, str] = {}
    linux_ns_pid: Annotated[int, Meta(ge=1, le=2**32 - 1)] | None = None
    """Run it in the namespaces of this process."""
