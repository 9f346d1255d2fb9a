"""What goes to a guest's agent and comes back: commands, their ends, what the agent can do, pieces of files.

Plain structures with the agent's own meaning; qga.py sends them. Field names are the documents', the agent's are
given as `name`. Source: qga/qapi-schema.json of QEMU.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One request, such as `guest-ping`."""

    command: str
    arguments: Mapping[str, object] | msgspec.Struct | None = None
    """JSON-able; bytes are sent as Base64."""
    on_late: Callable[[msgspec.Raw], None] | None = None
    """Called with the result, if that comes after all when the request was given up: for what is told only once."""


class GuestExec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="kebab"):
    """A program to be started in the guest. The documents' `GuestExecCommand`."""

    path: str
    """Looked for in PATH unless it has a slash."""
    arg: Sequence[str] | None = None
    """Without the program's own name."""
    env: Sequence[str] | None = None
    """`NAME=value` each; the whole environment. None: the agent's own."""
    input_data: bytes | None = None
    """What it reads on its standard input. None: nothing."""
    capture_output: bool | None = None
    """Keep what it prints, up to 16 MiB of each stream, for its status."""

    @classmethod
    def simple(cls, path: str, args: Sequence[str] = ()) -> Self:
        """`path` with `args`, its output kept."""
        return cls(path=path, arg=list(args), capture_output=True)


class GuestExecStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a program in the guest stands. Its end can be asked for once: after that the agent has forgotten it."""

    exited: bool
    exit_code: int | None = msgspec.field(default=None, name="exitcode")
    """None while it runs, and when a signal ended it."""
    signal: int | None = None
    """Of Windows: the number of the unhandled exception."""
    stdout_kept: bytes | None = msgspec.field(default=None, name="out-data")
    """None: it printed nothing, or nobody asked to keep it, or it has not ended. Base64 on the wire."""
    stderr_kept: bytes | None = msgspec.field(default=None, name="err-data")
    out_truncated: bool | None = msgspec.field(default=None, name="out-truncated")
    """It printed more than the agent keeps; the rest is lost."""
    err_truncated: bool | None = msgspec.field(default=None, name="err-truncated")

    @property
    def succeeded(self) -> bool:
        return self.exited and self.exit_code == 0

    @property
    def stdout(self) -> bytes:
        """What it printed, byte for byte."""
        return self.stdout_kept or b""

    @property
    def stderr(self) -> bytes:
        return self.stderr_kept or b""

    @property
    def out_data(self) -> str | None:
        """What it printed, in Base64, as the agent tells it."""
        return None if self.stdout_kept is None else base64.b64encode(self.stdout_kept).decode()

    @property
    def err_data(self) -> str | None:
        return None if self.stderr_kept is None else base64.b64encode(self.stderr_kept).decode()

    def decode_stdout(self, encoding: str = "utf-8") -> str | None:
        """What it printed, as text, with a replacement character for what is none. None: nothing was kept."""
        return None if self.stdout_kept is None else self.stdout_kept.decode(encoding, errors="replace")

    def decode_stderr(self, encoding: str = "utf-8") -> str | None:
        """As `decode_stdout`."""
        return None if self.stderr_kept is None else self.stderr_kept.decode(encoding, errors="replace")


class StartedProgram(msgspec.Struct, frozen=True):
    """The answer to guest-exec."""

    pid: int


class AgentCommand(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    enabled: bool
    """An administrator of the guest may have switched it off."""
    success_response: bool = True
    """False: it answers only when it fails, such as guest-shutdown."""


class AgentVersion(msgspec.Struct, frozen=True):
    """The answer to guest-info."""

    version: str
    """QEMU's, such as `7.2.19`."""
    supported_commands: tuple[AgentCommand, ...] = ()


class FilePiece(msgspec.Struct, frozen=True):
    """The answer to guest-file-read."""

    count: int
    eof: bool
    """For now: the next read sees what was appended meanwhile."""
    content: bytes = msgspec.field(default=b"", name="buf-b64")
