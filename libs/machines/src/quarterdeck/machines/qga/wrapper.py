"""How a command is started in the guest: in a session of its own, its output in files, by a few lines of shell.

The shell redirects the output, changes the directory and is then replaced by the command, or goes on as it, so that the
pid that guest-exec told is the command's own, and so are exit code and signal. Nothing of a command is pasted into the
script: it comes as arguments. Works in dash, bash and busybox. What a guest needs for that is learned once, by PREPARE.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from quarterdeck.machines.qga.structures import GuestExec

MARKER_VARIABLE: Final = "QUARTERDECK_COMMAND"
"""In the environment of every process of a command, unless it was cleared on purpose. As on a host."""

PREPARE: Final = """
mkdir -m 700 -- "$1" && echo made || echo
{ read -r _pid _name _state _parent _group _rest </proc/$$/stat; } 2>/dev/null
[ "$_group" = "$$" ] && echo || command -v setsid || echo
export PATH
cat /proc/self/environ 2>/dev/null || env -0 2>/dev/null || :
"""
"""Prints three things: a line that says whether it made the directory $1; a line with the program that makes a session,
empty where there is none or no need; the agent's environment. The fields of /proc/…/stat begin with pid, name, state,
parent and group: a newer agent may have made the program a leader already, and then setsid would fork, and the pid be
another's. An agent that was started without a PATH has none to hand on, but the shell has one."""

# Appends: a command that opens its own /dev/stdout anew would otherwise write over what it wrote.
_SETTING: Final = """
if [ -n "$1" ]; then
    { [ -f "$1" ] && [ -f "$2" ]; } || exit 126
    exec >>"$1" 2>>"$2"
fi
if [ -n "$3" ]; then CDPATH= cd -- "$3" || exit 126; fi
shift 3
"""
_BECOME_PROGRAM: Final = _SETTING + 'exec "$@"\n'
_BECOME_SHELL_TEXT: Final = _SETTING + '_text=$1\nset --\neval "$_text"\n'
"""Saves the exec of a second shell: some 10 ms in an emulated guest, where a short command takes 30 (measured)."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What commands are started on in one guest; as PREPARE told."""

    shell: str
    session_maker: str
    """The path of setsid; empty: there is none, or the agent makes sessions itself."""
    environment: Mapping[str, str]
    """The agent's own."""
    directory: str | None
    """For output. None: none can be made, such as on a full disk."""

    @classmethod
    def parse(cls, output: bytes, *, shell: str, directory: str) -> "Ground":
        """`output`: of PREPARE with `directory`. Raises ValueError when it is none.

        Variables that are no UTF-8 are left out: no request could carry them.
        """
        made, session_maker, environ = output.split(b"\n", 2)
        environment = {}
        for variable in environ.split(b"\0"):
            try:
                name, has_value, value = variable.decode().partition("=")
            except UnicodeDecodeError:
                continue
            if has_value:
                environment[name] = value
        return cls(
            shell=shell,
            session_maker=session_maker.decode(),
            environment=environment,
            directory=directory if made else None,
        )

    def program(self, argv: Sequence[str], setting: "Setting") -> GuestExec:
        """`argv`, started in `setting`."""
        if tuple(argv[:-1]) == (self.shell, "-c"):
            script, arguments = _BECOME_SHELL_TEXT, argv[-1:]
        else:
            script, arguments = _BECOME_PROGRAM, argv
        stdout, stderr = setting.outputs or ("", "")
        shell_argv = [self.shell, "-c", script, "sh", stdout, stderr, setting.working_directory, *arguments]
        path, *arg = [self.session_maker, *shell_argv] if self.session_maker else shell_argv
        environment = {**self.environment, **setting.environment, MARKER_VARIABLE: setting.marker}
        return GuestExec(
            path=path,
            arg=arg,
            env=[f"{name}={value}" for name, value in environment.items()],
            input_data=setting.input_content,
            capture_output=setting.outputs is None,
        )


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a command finds when it starts."""

    marker: str
    working_directory: str
    """Empty: the agent's own."""
    environment: Mapping[str, str]
    """On top of the agent's own."""
    input_content: bytes | None
    outputs: tuple[str, str] | None
    """Files that are there already, for stdout and stderr. None: the agent keeps what it prints."""


def script_argv(script: str, path: str | None, shell: str) -> tuple[str, ...]:
    """How to run `script`, which lies at `path`. Empty: it cannot be run without a file.

    As the kernel does it: the first line names a program, and everything after the first blank is one argument of it.
    """
    interpreter: tuple[str, ...] = ()
    if script.startswith("#!"):
        interpreter = tuple(script[2:].partition("\n")[0].strip().split(None, 1))
    if path is not None:
        return (*(interpreter or (shell,)), path)
    return (shell, "-c", script) if interpreter in ((), (shell,)) else ()
