"""A QUIC connection to a gateway, up to the end of the handshake. Both protocols of the agent begin with it."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeVar

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.agent.settings import ServerAddress

IDLE_TIMEOUT_S: Final = 20.0
"""aioquic sends no stateless reset, so a gateway that died is noticed only by its silence."""
_CONNECT_TIMEOUT_S: Final = 10.0

_Protocol = TypeVar("_Protocol", bound=QuicConnectionProtocol)


async def handshake(
    address: ServerAddress, configuration: QuicConfiguration, make: Callable[[QuicConnection], _Protocol]
) -> _Protocol:
    """What `make` made of the connection. Raises ConnectionLost when none comes about in time."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            return await _handshake(address, configuration, make)
    except TimeoutError:
        raise ConnectionLost("timed out") from None
    except OSError as error:  # no such host, unreachable network, handshake refused (ConnectionError)
        raise ConnectionLost(f"{type(error).__name__} {error}".rstrip()) from error


async def _handshake(
    address: ServerAddress, configuration: QuicConfiguration, make: Callable[[QuicConnection], _Protocol]
) -> _Protocol:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    family, _, _, _, remote = found[0]
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: make(QuicConnection(configuration=configuration)),
        local_addr=("::" if family == socket.AF_INET6 else "0.0.0.0", 0),
        family=family,
    )
    try:
        protocol.connect(remote)
        await protocol.wait_connected()
    except BaseException:
        transport.close()
        raise
    return protocol
