"""What an agent can be told. Built by main.py (command line) or by a program that embeds the SDK; read-only after.

The server list, labels and paths belong to a deployment; everything with a default is a limit with its reason.
"""

import re
import socket
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from quarterdeck.agent.catalogue import STANDARD, Catalogue
from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.contracts.links import Carrier
from quarterdeck.core.logging import Format, Level


class ServerAddress(NamedTuple):
    """Where a gateway listens: `quic://host:port` or `grpc://host:port`."""

    carrier: Carrier
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Raises BadAgentSettings naming what is expected."""
        try:
            parts = urlsplit(text)
            carrier, host, port = Carrier(parts.scheme), parts.hostname, parts.port
        except ValueError:
            carrier, host, port = None, None, None
        if carrier is None or not host or not port:
            raise BadAgentSettings(
                f"server {text!r}: expected quic://host:port or grpc://host:port", field="servers"
            )
        return cls(carrier, host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.carrier}://{host}:{self.port}"


class Role(StrEnum):
    """Which part of an agent a process is."""

    AGENT = "agent"
    """The executor, which keeps a front running as its child."""
    EXECUTOR = "executor"
    """The executor alone; somebody else starts the front."""
    FRONT = "front"
    """The front alone, for an executor on the same machine."""
    SINGLE = "single"
    """Both in one process. For development: what kills the one then kills the other."""


class ExecutorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the side that runs commands."""

    scratch_dir: Path
    """Where script files live while they run."""
    journal_dir: Path
    """What is known of each command, for whoever comes after a crash."""
    spool_dir: Path
    """Output that nobody took yet."""
    environment: dict[str, str]
    """What child processes inherit, before a command's own variables."""
    working_directory: str = "/"
    """Where commands start that name no directory."""
    max_parallel: int = 64
    """Commands that run at once; more wait by priority."""
    max_queued_bytes: int = 64 * 1024 * 1024
    """Specs of waiting commands; beyond it orders are rejected as `overloaded`."""
    max_unacknowledged_commands: int = 2048
    """Ended commands that the gateway has not confirmed; beyond it nothing new starts. Keeps the journal in Hello
    short."""
    max_retained_bytes: int = 64 * 1024 * 1024
    """Output and reports of all commands in memory that the gateway has not confirmed; beyond it nothing new starts."""
    command_spool_bytes: int = 64 * 1024 * 1024
    """Output of one command on disk while nobody takes it; beyond it the command waits in its write."""
    max_spool_bytes: int = 1024 * 1024 * 1024
    """The same for all commands."""
    disk_reserve_bytes: int = 64 * 1024 * 1024
    """With less than this free below journal_dir, orders are rejected as `spool_full`: what runs needs the room."""
    catalogue: Catalogue = Catalogue()
    """Commands that it runs by name."""
    guests: GuestSettings = GuestSettings()
    """Virtual machines of this host that are targets, too."""
    repeat_reports_s: float = 15.0
    """A report that is unacknowledged for this long is sent again on the same link."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one agent. `executor` is made from it by `executor_settings`."""

    servers: tuple[ServerAddress, ...]
    """Tried in random order, then in turn."""
    data_dir: Path
    """Key, enrolment, CA and scratch files. One agent per directory."""
    agent_id: str
    name: str = ""
    """For people; the agent id when empty."""
    labels: dict[str, str] = {}
    join_token: str | None = None
    """Text of a wire.join_token.JoinToken, needed once."""
    ca_path: Path | None = None
    """CA certificate (PEM) to trust; the one from the join token otherwise."""
    environment: dict[str, str] = {}
    working_directory: str = "/"
    max_parallel: int = 64
    catalogue: Catalogue = STANDARD
    """Commands that it runs by name, from a file (catalogue.py) or the standard ones."""
    guests: GuestSettings = GuestSettings()
    """Where virtual machines of this host are looked for."""
    stop_grace_s: float = 10.0
    """How long running commands and their last reports may take when the agent is told to stop."""
    role: Role = Role.AGENT
    run_dir: Path | None = None
    """Where executor and front meet; `run` in the data directory when None."""
    front_user: str | None = None
    """Who the front runs as, when the executor is root's. Its key and enrolment are then in `front` in the data
    directory, unless somebody else starts it."""
    front_log_format: Format = "console"
    front_log_level: Level = "info"
    failpoints: str = ""
    """For tests: see core/failpoints.py. main.py arms the executor's process, the front arms its own."""
    failpoints_dir: Path | None = None

    @property
    def socket_dir(self) -> Path:
        return self.run_dir or self.data_dir / "run"

    def executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(
            scratch_dir=self.data_dir / "scratch",
            journal_dir=self.data_dir / "journal",
            spool_dir=self.data_dir / "spool",
            environment=self.environment,
            working_directory=self.working_directory,
            max_parallel=self.max_parallel,
            catalogue=self.catalogue,
            guests=self.guests,
        )


class _OwnVariable(StrEnum):
    """Variables with these prefixes are ours (tokens among them) and never reach a child process."""

    SERVICE = "QD_"
    PRODUCT = "QUARTERDECK_"


_LABEL_KEY: Final = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_./-]{0,62}\Z")


def child_environment(environ: dict[str, str]) -> dict[str, str]:
    """`environ` without our own variables."""
    own = tuple(prefix.value for prefix in _OwnVariable)
    return {name: value for name, value in environ.items() if not name.startswith(own)}


def default_agent_id() -> str:
    """The host's name, made to fit the id pattern."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())[:64].strip("-") or "agent"


def check_agent_id(agent_id: str) -> str:
    """Raises BadAgentSettings when it is outside the id pattern."""
    if not ID_PATTERN.match(agent_id):
        raise BadAgentSettings(
            f"agent id {agent_id!r}: expected 1 to 64 of A-Z a-z 0-9 _ -", field="agent_id"
        )
    return agent_id


def parse_labels(texts: list[str]) -> dict[str, str]:
    """`["env=prod"]` → `{"env": "prod"}`. Raises BadAgentSettings."""
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _LABEL_KEY.match(key) or len(value) > 256:
            raise BadAgentSettings(f"label {text!r}: expected key=value", field="labels")
        labels[key] = value
    return labels
