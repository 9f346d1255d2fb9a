"""What the gRPC carrier decides apart from the wire: how it names peers, how the server treats connections. Pure."""

from typing import Final
from urllib.parse import unquote

from quarterdeck.contracts.limits import MAX_FRAME_BYTES

KEEPALIVE_MS: Final = 20_000
"""A connection without traffic is probed after this, and closed when it does not answer for as long again."""
MIN_PING_MS: Final = 5_000
"""Agents may ping this often. Source: grpc/doc/keepalive.md; the default of 5 min answers keepalives with GOAWAY."""
MAX_LINKS_PER_CONNECTION: Final = 1024
"""One agent needs one; a simulated fleet shares connections. Beyond it, calls would wait at the client unseen."""


def server_options() -> list[tuple[str, int]]:
    """Channel arguments of the server."""
    return [
        ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
        ("grpc.max_send_message_length", MAX_FRAME_BYTES),
        ("grpc.max_concurrent_streams", MAX_LINKS_PER_CONNECTION),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_MS),
        ("grpc.http2.max_pings_without_data", 0),
        # Two processes on one port would share its connections unnoticed; a port that is taken is an error.
        ("grpc.so_reuseport", 0),
    ]


def peer_address(peer: str) -> str:
    """`ipv6:%5B::1%5D:4711` → `[::1]:4711`. Source: grpc/doc/naming.md."""
    _, _, address = peer.partition(":")
    return unquote(address)
