"""The QUIC carrier: the only modules here that import aioquic.

One connection is one link. How it uses its streams is decided by the protocol that the handshake agreed on (ALPN):
`one_stream` for our own agents, `many_streams` for quicflow. Made and closed by `service`.
"""

from quarterdeck.quic_gateway.carrier.connection import QuicLink
from quarterdeck.quic_gateway.carrier.server import QuicServer

__all__ = ["QuicLink", "QuicServer"]
