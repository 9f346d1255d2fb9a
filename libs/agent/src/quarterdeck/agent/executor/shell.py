"""From an order's payload to what is executed: `shell` and `exec` commands. Pure, but for script files.

shell   {"command": "…"}    /bin/sh -c
shell   {"script": "#!…"}   a file of its own; its first line chooses the interpreter, /bin/sh without one
exec    {"argv": ["…", …]}  no shell at all
"""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.contracts.errors import QuarterdeckError

SHELL: Final = "shell"
EXEC: Final = "exec"

_SCRIPT_PREFIX: Final = "script-"

_EXPECTED: Final = {
    SHELL: 'expected {"command": "…"} or {"script": "…"}',
    EXEC: 'expected {"argv": ["program", …]}',
}


class InvalidPayload(QuarterdeckError):
    """The payload does not fit its command type. The text says what was expected."""

    code = "invalid_payload"


class Plan(msgspec.Struct, frozen=True):
    """What to execute: an argv, or a script that becomes a file first."""

    argv: tuple[str, ...] = ()
    script: str | None = None


class _ShellPayload(msgspec.Struct, forbid_unknown_fields=True):
    command: str | None = None
    script: str | None = None


class _ExecPayload(msgspec.Struct, forbid_unknown_fields=True):
    argv: list[str]


_shell_decoder: Final = msgspec.json.Decoder(_ShellPayload)
_exec_decoder: Final = msgspec.json.Decoder(_ExecPayload)


def plan_for(command_type: str, payload: bytes) -> Plan:
    """`command_type`: SHELL or EXEC. Raises InvalidPayload."""
    expected = _EXPECTED[command_type]
    try:
        plan = _exec_plan(payload) if command_type == EXEC else _shell_plan(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"invalid payload: {expected}; {error}") from None
    if plan is None:
        raise InvalidPayload(f"invalid payload: {expected}")
    if any("\0" in part for part in (*plan.argv, plan.script or "")):
        raise InvalidPayload("invalid payload: a command cannot contain NUL")
    return plan


def _shell_plan(payload: bytes) -> Plan | None:
    asked = _shell_decoder.decode(payload)
    match asked:
        case _ShellPayload(command=str(command), script=None) if command.strip():
            return Plan(argv=("/bin/sh", "-c", command))
        case _ShellPayload(command=None, script=str(script)) if script.strip():
            return Plan(script=script)
    return None


def _exec_plan(payload: bytes) -> Plan | None:
    argv = _exec_decoder.decode(payload).argv
    return Plan(argv=tuple(argv)) if argv and argv[0] else None


def prepare_scratch(directory: Path) -> None:
    """Make it, and sweep scripts that an earlier executor left there. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in directory.glob(f"{_SCRIPT_PREFIX}*"):
        path.unlink(missing_ok=True)


class ScriptFile:
    """A script on disk, for as long as it runs. Readable and executable by the agent's user alone."""

    def __init__(self, script: str, directory: Path) -> None:
        """Raises OSError when it cannot be written; nothing is left behind then."""
        descriptor, name = tempfile.mkstemp(prefix=_SCRIPT_PREFIX, dir=directory)
        self.path: Final = Path(name)
        try:
            os.fchmod(descriptor, 0o700)
            with os.fdopen(descriptor, "wb") as file:
                file.write(script.encode())
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        self.argv: Final = (name,) if script.startswith("#!") else ("/bin/sh", name)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
