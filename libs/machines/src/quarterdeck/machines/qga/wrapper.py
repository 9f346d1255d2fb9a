"""The shell script that becomes a command in the guest, and what starts it.

It redirects the output, sets directory and environment, makes a session and is then replaced by the command, so that
the pid that guest-exec told is the command's own, and so are exit code and signal. Nothing of the command is pasted
into the script: it comes as arguments. Works in dash, bash and busybox; builtins only, but for setsid.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from quarterdeck.machines.qga.structures import GuestExec

MARKER_VARIABLE: Final = "QUARTERDECK_COMMAND"
"""In the environment of every process of a command, unless it was cleared on purpose. As on a host."""

# Appends: a command that opens its own /dev/stdout anew would otherwise write over what it wrote. An agent that was
# started without a PATH has none to hand on; the shell has one. The first fields of /proc/…/stat are pid, name, state,
# parent and group: a group leader cannot make a session, and need not, since a newer agent has done so already.
_SCRIPT: Final = """
if [ -n "$1" ]; then
    [ -f "$1" ] && [ -f "$2" ] || exit 126
    exec >>"$1" 2>>"$2"
fi
if [ -n "$3" ]; then CDPATH= cd -- "$3" || exit 126; fi
_qd_left=$4
shift 4
while [ "$_qd_left" -gt 0 ]; do
    export "$1"
    shift
    _qd_left=$((_qd_left - 1))
done
export PATH
_qd_group=
{ read -r _qd_pid _qd_name _qd_state _qd_parent _qd_group _qd_rest </proc/$$/stat; } 2>/dev/null
if [ "$_qd_group" != "$$" ] && command -v setsid >/dev/null 2>&1; then
    exec setsid "$@"
fi
exec "$@"
"""


def wrapped(
    argv: Sequence[str],
    *,
    shell: str,
    outputs: tuple[str, str] | None,
    working_directory: str,
    environment: Mapping[str, str],
    input_content: bytes | None,
) -> GuestExec:
    """`argv` as a program of its own session. `outputs`: files that exist; None: the agent keeps what it prints.

    `working_directory`: empty for the agent's own. `environment`: on top of the agent's own.
    """
    stdout, stderr = outputs or ("", "")
    variables = [f"{name}={value}" for name, value in environment.items()]
    return GuestExec(
        path=shell,
        arg=["-c", _SCRIPT, "sh", stdout, stderr, working_directory, str(len(variables)), *variables, *argv],
        input_data=input_content,
        capture_output=outputs is None,
    )


def script_argv(script: str, path: str | None, shell: str) -> tuple[str, ...]:
    """How to run `script`, which lies at `path`. Empty: it cannot be run without a file.

    As the kernel does it: the first line names a program, and everything after the first blank is one argument of it.
    """
    if not script.startswith("#!"):
        return (shell, path) if path is not None else (shell, "-c", script)
    interpreter = tuple(script[2:].partition("\n")[0].strip().split(None, 1))
    if path is not None:
        return (*(interpreter or (shell,)), path)
    return (shell, "-c", script) if interpreter in ((), (shell,)) else ()
