"""Where executor and front meet: the Unix socket `executor.sock` in the agent's run directory.

Owns its path, its permissions and who may connect. What is said over it: executor_server.py and executor_client.py.

A socket's address holds 107 bytes and data directories may be longer, so both sides name it through an open descriptor
of its directory. Source: unix(7), proc(5) on /proc/self/fd.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "executor.sock"

BUFFER_BYTES: Final = 256 * 1024
"""Of the kernel, for each direction. What is in it when a front dies is said again on the next link."""

_BACKLOG: Final = 4
_PEER_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid. Source: unix(7), SO_PEERCRED."""


@contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """A short name of `directory`, valid inside the block. Raises OSError when there is none."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def listen(directory: Path, front_uid: int | None = None) -> socket.socket:
    """A listening socket in `directory`, which is made if needed; takes the place of one that an earlier executor left.

    Only this user may connect, root, and `front_uid`, to whom both then belong. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _keep_small(listener)
        draft = f".{SOCKET_NAME}.{os.getpid()}"
        with short_path(directory) as short:
            Path(short, draft).unlink(missing_ok=True)
            listener.bind(f"{short}/{draft}")
            Path(short, draft).chmod(0o600)
            listener.listen(_BACKLOG)
            if front_uid is not None:
                os.chown(f"{short}/{draft}", front_uid, -1)
                os.chown(directory, front_uid, -1)
            Path(short, draft).replace(f"{short}/{SOCKET_NAME}")
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def connect(directory: Path) -> socket.socket:
    """A connection to the executor of `directory`. Raises OSError when there is none, or it is busy taking others."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _keep_small(connection)
        connection.setblocking(False)  # a Unix socket connects at once or not at all
        with short_path(directory) as short:
            connection.connect(f"{short}/{SOCKET_NAME}")
    except BaseException:
        connection.close()
        raise
    return connection


def peer_uid(connection: socket.socket) -> int:
    """Who connected, as the kernel noted it."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    uid: int = _PEER_CREDENTIALS.unpack(packed)[1]
    return uid


def _keep_small(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES // 2)  # the kernel doubles it: socket(7)
