"""Settings of the api service, from `QD_API_…`. Read by main.py alone."""

from pathlib import Path

import msgspec

from quarterdeck.contracts.limits import MAX_IN_FLIGHT


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8080
    """Source: S0-14. 0: a free port."""
    port_file: Path | None = None
    """Where the bound port is written, for whoever gave 0."""
    unix_socket: Path | None = None
    """Listen here instead of on host and port."""
    ca_path: Path | None = None
    """PEM of the CA that gateways' certificates chain to; join tokens carry it. None: no join tokens are made here."""
    broadcaster_url: str | None = None
    """`http://host:port` or `unix:///path`. Watch paths are forwarded there; None where an ingress does that."""
    run_timeout_s: float = 30.0
    """How long who asks an agent waits for its answer. Source: S1-18, whose text names it."""
    drain_s: float = 10.0
    max_in_flight: int = MAX_IN_FLIGHT
    """Commands that have not ended, of all tenants together; beyond it 429. 0: no limit."""
    write_rate: str = ""
    """Requests of one principal that change anything, such as `600/minute`, over all replicas; empty: no limit."""
    read_rate: str = ""
    """Requests of one principal that only read."""
    client_rate: str = ""
    """Single commands for one agent."""
