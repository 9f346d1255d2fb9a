"""The Linux namespaces of this machine, as /proc shows them to this agent. Called by inventory.py, in a thread.

One entry per namespace, by the lowest pid in it. What this user may not look into, and what ends while we look, is left
out.
"""

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quarterdeck.contracts.agent_calls import LinuxNamespace

_LINK: Final = re.compile(r"(\w+):\[(\d+)\]")
"""`net:[4026531840]`. Source: namespaces(7)."""
_FOR_CHILDREN: Final = "_for_children"
"""Where a process's children will be: seen again as soon as there is one."""
_MAX_NAMESPACES: Final = 1000
_MAX_CMD_CHARS: Final = 120
"""Both keep the answer within one result."""


def linux_namespaces(proc: Path = Path("/proc")) -> list[LinuxNamespace]:
    """In the order of their pids."""
    found: dict[tuple[str, int], LinuxNamespace] = {}
    for pid in _pids(proc):
        process = proc / str(pid)
        for ns_type, inode in _namespaces_of(process):
            if (ns_type, inode) in found:
                continue
            if len(found) == _MAX_NAMESPACES:
                return list(found.values())
            found[ns_type, inode] = LinuxNamespace(
                id=inode, ns_type=ns_type, user=_user_of(process), pid=pid, cmd=_cmd_of(process)
            )
    return list(found.values())


def _pids(proc: Path) -> list[int]:
    return sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())


def _namespaces_of(process: Path) -> Iterator[tuple[str, int]]:
    try:
        links = sorted((process / "ns").iterdir())
    except OSError:
        return
    for link in links:
        if link.name.endswith(_FOR_CHILDREN):
            continue
        try:
            match = _LINK.fullmatch(os.readlink(link))  # noqa: PTH115 - what it says, not where it leads
        except OSError:
            continue
        if match is not None:
            yield match[1], int(match[2])


def _user_of(process: Path) -> str:
    try:
        uid = process.stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _cmd_of(process: Path) -> str:
    """Its command line in printable ASCII, or, of a kernel thread, its name in brackets."""
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if words == [b""]:
            words = [b"[" + (process / "comm").read_bytes().strip() + b"]"]
    except OSError:
        return ""
    text = b" ".join(words).decode("ascii", "replace")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_MAX_CMD_CHARS])
