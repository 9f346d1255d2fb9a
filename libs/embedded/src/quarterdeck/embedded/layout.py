"""Where everything of one embedded system lies below its data directory.

Owns the paths, their modes, and the lock that lets one supervisor at a time use them. Reads and writes no content.
Called by the supervisor's parts and, to find a running system, by the command line.

    <data dir>/
      up.lock           held while a system runs here
      nats/ redis/      the servers' state and logs
      pki/              the CA, the gateways' certificates, the secrets of bootstrap.py (0600)
      run/              ready.json, ports.json, port files and logs/
      agents/<id>/      one local agent each
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import platformdirs

from quarterdeck.embedded.server_errors import DataDirInUse, DataDirUnusable

_PRIVATE: Final = 0o700


def default_data_dir() -> Path:
    """The user's own place for application state, such as ~/.local/share/quarterdeck."""
    return Path(platformdirs.user_data_dir("quarterdeck", appauthor=False))


class DataDir(msgspec.Struct, frozen=True):
    """The directory of one embedded system. `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """`path` may be relative, start with `~`, and need not exist."""
        return cls(path.expanduser().resolve())

    @property
    def lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def ready_file(self) -> Path:
        """What a running system says of itself (ready_file.py); absent while none runs."""
        return self.run / "ready.json"

    @property
    def ports_file(self) -> Path:
        """The ports of the last run (ports.py)."""
        return self.run / "ports.json"

    def log(self, name: str) -> Path:
        """The log file of the child process `name`."""
        return self.logs / f"{name}.log"

    def port_file(self, name: str) -> Path:
        """Where the child process `name` writes the port that it got."""
        return self.run / f"{name}.port"

    def agent(self, agent_id: str) -> Path:
        return self.root / "agents" / agent_id

    def create(self) -> None:
        """Makes the directories, readable by their owner alone: tokens and keys lie inside. Raises DataDirUnusable."""
        try:
            for path in (self.root, self.nats, self.redis, self.pki, self.run, self.logs):
                path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirUnusable(self.root, error.strerror or str(error)) from error


class DataDirLock:
    """Context manager that holds a data directory. The kernel frees it when the process ends, however it ends."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Raises DataDirInUse while another process holds it; DataDirUnusable."""
        try:
            descriptor = os.open(self._data_dir.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirUnusable(self._data_dir.root, error.strerror or str(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise DataDirInUse(self._data_dir.root, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
