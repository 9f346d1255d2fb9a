"""Settings of the broadcaster, from `QD_BROADCASTER_…`. Read by main.py alone."""

from pathlib import Path

import msgspec


class BroadcasterSettings(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free port."""
    port_file: Path | None = None
    """Where the bound port is written, for whoever gave 0."""
    unix_socket: Path | None = None
    """Listen here instead of on host and port."""
    ring_bytes: int = 4 * 1024 * 1024
    """How much of a watched scope is kept in memory for those who are a little behind."""
    stall_s: float = 15.0
    """A watcher that makes no room for this long is cut off."""
    keep_alive_s: float = 15.0
    """A comment this often keeps proxies from closing an idle stream."""
    drain_s: float = 5.0
