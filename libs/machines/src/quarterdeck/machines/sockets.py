"""A connected socket to where a guest's protocol listens. Owns what a failed connect means, not what is spoken then.

Called by the protocols that keep a stream. Connecting has no effect on a guest, so it is tried again where that helps.
"""

import asyncio
import select
import socket
import stat
from pathlib import Path
from typing import Final

from quarterdeck.machines.errors import ConnectFailed, ProtocolUnavailable
from quarterdeck.machines.guest import Endpoint, LibvirtEndpoint, ProtocolType, TcpEndpoint, UnixEndpoint

_PAUSES_S: Final = (0.05, 0.15)
"""Before the second and the third try: QEMU may be just starting, or between two clients."""
_FULL_BACKLOG_PAUSE_S: Final = 0.02


async def dial(endpoint: Endpoint, *, guest: str, protocol: ProtocolType) -> socket.socket:
    """A connected, non-blocking socket; the caller closes it, and bounds the time that this takes.

    `guest`: its name, for errors. Raises ConnectFailed; ProtocolUnavailable where libvirt keeps the socket to itself.
    """
    if isinstance(endpoint, LibvirtEndpoint):
        raise ProtocolUnavailable(f"{endpoint} has no socket of ours", guest=guest, protocol=protocol)
    for pause_s in (*_PAUSES_S, None):
        try:
            return await _connect(endpoint)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if pause_s is None or _is_other_than_socket(endpoint):
                raise _failed(endpoint, error, guest, protocol) from error
            await asyncio.sleep(pause_s)
        except (
            OSError,
            ValueError,
            OverflowError,
        ) as error:  # such as a NUL in a path, or a port beyond 65535
            raise _failed(endpoint, error, guest, protocol) from error
    raise AssertionError("the last try has no pause")


def has_hung_up(writer: asyncio.StreamWriter) -> bool:
    """The other side is gone, whatever of its last words is still unread. Asks the kernel, so it is never late."""
    if writer.is_closing():
        return True
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


async def _connect(endpoint: UnixEndpoint | TcpEndpoint) -> socket.socket:
    match endpoint:
        case UnixEndpoint(path=path):
            return await _connect_unix(path)
        case TcpEndpoint(host=host, port=port):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, (host, port))
            except BaseException:
                connection.close()
                raise
            return connection


async def _connect_unix(path: str) -> socket.socket:
    # Not the loop's sock_connect: it takes EAGAIN, a full backlog, for a connect in progress. connect(2), EAGAIN.
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_FULL_BACKLOG_PAUSE_S)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


def _is_other_than_socket(endpoint: Endpoint) -> bool:
    if not isinstance(endpoint, UnixEndpoint):
        return False
    try:
        return not stat.S_ISSOCK(Path(endpoint.path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _failed(endpoint: Endpoint, error: Exception, guest: str, protocol: ProtocolType) -> ConnectFailed:
    cause = (
        "not a socket" if _is_other_than_socket(endpoint) else getattr(error, "strerror", None) or str(error)
    )
    return ConnectFailed(f"{endpoint}: {cause}", guest=guest, protocol=protocol)
