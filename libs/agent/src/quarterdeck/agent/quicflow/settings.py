"""What a quicflow client can be told. Imports no carrier."""

import msgspec

from quarterdeck.agent.settings import ServerAddress
from quarterdeck.wire.quicflow import HEARTBEAT_INTERVAL_S


class QuicflowSettings(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerAddress
    client_id: str
    """Under which the client was registered."""
    ca_pem: bytes
    """PEM: who signed the server's certificate."""
    heartbeat_interval_s: float = HEARTBEAT_INTERVAL_S
    max_concurrent: int = 64
    """Commands that are executed at a time; others wait."""
    stop_grace_s: float = 5.0
    """For commands to end when the client stops."""
