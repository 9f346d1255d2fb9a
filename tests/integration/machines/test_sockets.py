"""Endpoints to which nobody could ever connect."""

import pytest

from quarterdeck.machines.errors import ConnectFailed
from quarterdeck.machines.guest import ProtocolType, TcpEndpoint, UnixEndpoint
from quarterdeck.machines.sockets import dial


@pytest.mark.parametrize(
    "endpoint",
    [UnixEndpoint("/run/\0.sock"), UnixEndpoint("/" + "x" * 200), TcpEndpoint("127.0.0.1", 70_000)],
    ids=["NUL", "too long", "port"],
)
async def test_endpoint_that_is_none_is_a_failed_connect(endpoint: UnixEndpoint | TcpEndpoint) -> None:
    """S2-25F"""
    with pytest.raises(ConnectFailed):
        await dial(endpoint, guest="vm1", protocol=ProtocolType.QMP)
