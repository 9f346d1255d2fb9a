"""What a gateway can be told: limits and intervals of its links. Built by the services' `main.py`, never here."""

import msgspec

from quarterdeck.contracts.links import Carrier


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Same for both carriers; the services add where they listen."""

    gateway_id: str
    """New in each process: links of an earlier life must not be mistaken for links of this one."""
    carrier: Carrier
    opening_timeout_s: float = 10.0
    """From accept to Welcome, all of it."""
    heartbeat_interval_ms: int = 15_000
    silence_s: float = 60.0
    """A link that says nothing, or takes nothing, for this long is closed. Four missed heartbeats (S1-3)."""
    sweep_interval_s: float = 5.0
    """How often silence is looked for."""
    goodbye_timeout_s: float = 1.0
    """How long a link that ends may take to hear why."""
    queued_orders: int = 4096
    """Per link; beyond it the answer is `busy`."""
    queued_order_bytes: int = 16 * 1024 * 1024
    """Per link, specs included."""
    window_bytes: int = 2 * 1024 * 1024
    """Output of one link that may be unacknowledged."""
    output_budget_bytes: int = 256 * 1024 * 1024
    """Output of all links that may be unacknowledged: windows shrink when many links stream at once."""
    progress_interval_ms: int = 500
    pending_reports: int = 50_000
    """Reports that wait for the bus; beyond it links are not read until there is room."""
    drain_ms: int = 3_000
    """How long agents have to leave by themselves when the gateway stops."""
    admit_dialects: bool = False
    """For trials: agents of other protocols that nobody registered are enrolled at first contact."""
