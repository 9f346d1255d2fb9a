"""The machine and the versions that a run was measured with: figures mean nothing without them."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import psutil

from quarterdeck.embedded.binaries import find_nats_server, find_redis_server

_LIBRARIES: Final = (
    "nats-py",
    "redis",
    "grpcio",
    "aioquic",
    "litestar",
    "uvicorn",
    "uvloop",
    "msgspec",
    "protobuf",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cores: int
    cpu: str
    memory_gib: float
    system: str
    python: str
    servers: dict[str, str]
    libraries: dict[str, str]
    load_before: float
    """Load average over the minute before the run: above 0.5 somebody else was at work."""


def describe_machine() -> Machine:
    return Machine(
        cores=os.cpu_count() or 0,
        cpu=_cpu_model(),
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 1),
        system=platform.platform(terse=True),
        python=platform.python_version(),
        servers={
            "nats-server": _version_of(find_nats_server()),
            "redis-server": _version_of(find_redis_server()),
        },
        libraries={name: version(name) for name in _LIBRARIES},
        load_before=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version_of(binary: Path) -> str:
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=True)
    words = answer.stdout.replace("=", " ").split()
    return next(word.removeprefix("v") for word in words if word.removeprefix("v")[:1].isdigit())
