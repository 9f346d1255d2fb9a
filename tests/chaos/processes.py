"""The processes of one `quarterdeck up`, by role: who may be killed, and how much memory each takes.

Owns finding them (the ready file, and children by parent id) and signalling them. psutil refuses to signal a pid that
another process has taken over since.
"""

from typing import Any, Final

import psutil

EXECUTOR: Final = "executor"
FRONT: Final = "front"
_AGENT_MODULE: Final = "quarterdeck.agent"


def role_of(name: str) -> str:
    """`quic-gateway-2` → `quic-gateway`."""
    return name.removesuffix("-2")


def living(ready: dict[str, Any]) -> dict[str, list[psutil.Process]]:
    """Processes by role, each list in a fixed order. `ready`: the ready file; what has just ended is left out."""
    found: dict[str, list[psutil.Process]] = {}
    for name in sorted(ready["pids"]):
        _file(found, role_of(name), ready["pids"][name])
    for name in sorted(ready["agents"]):
        pid = ready["agents"][name]["pid"]
        _file(found, EXECUTOR, pid)
        for child in fronts_of(pid):
            found.setdefault(FRONT, []).append(child)
    return found


def fronts_of(executor_pid: int) -> list[psutil.Process]:
    """The child processes of an agent that are the agent's own. Commands run below it, too."""
    try:
        children = psutil.Process(executor_pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if _runs_the_agent(child)]


def resident_bytes(process: psutil.Process) -> int:
    """0 for a process that has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def command_markers() -> list[str]:
    """`<command id>.<attempt>` of every process on this machine that a command started and that still runs."""
    markers = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and (
                marker := process.environ().get("QUARTERDECK_COMMAND")
            ):
                markers.append(marker)
        except (psutil.Error, OSError):
            continue
    return markers


def _file(found: dict[str, list[psutil.Process]], role: str, pid: int) -> None:
    try:
        found.setdefault(role, []).append(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return


def _runs_the_agent(process: psutil.Process) -> bool:
    try:
        return any(part.startswith(_AGENT_MODULE) for part in process.cmdline())
    except psutil.Error:
        return False
