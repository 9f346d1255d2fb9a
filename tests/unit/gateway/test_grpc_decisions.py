"""What the gRPC gateway decides apart from the wire."""

import pytest

from quarterdeck.grpc_gateway.handlers import MIN_PING_MS, peer_address, server_options


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:127.0.0.1:4711", "127.0.0.1:4711"), ("ipv6:%5B::1%5D:4711", "[::1]:4711"), ("unix:", "")],
)
def test_peers_are_named_by_their_address(peer: str, address: str) -> None:
    assert peer_address(peer) == address


def test_agents_keepalives_are_no_abuse() -> None:
    """With grpc's default of five minutes an agent that pings is sent away."""
    options = dict(server_options())

    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] == MIN_PING_MS
    assert options["grpc.keepalive_permit_without_calls"] == 1


def test_message_size_is_limited() -> None:
    """Unlimited, a compressed bomb would be unpacked in memory."""
    assert dict(server_options())["grpc.max_receive_message_length"] > 0
