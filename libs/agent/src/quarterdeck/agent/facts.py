"""What the host says of itself: the facts in Hello. Read once per start; every value is text."""

import os
import platform
from pathlib import Path

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Changes with every boot of the host. Empty where the kernel does not tell."""
    try:
        return _BOOT_ID_FILE.read_text().strip()
    except OSError:
        return ""


def host_facts() -> dict[str, str]:
    """Names and values for people and selectors."""
    return {
        "hostname": platform.node(),
        "os": _os_name(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "cpu_count": str(os.cpu_count() or 1),
        "memory_bytes": str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        "python": platform.python_version(),
        "boot_id": boot_id(),
    }


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()
