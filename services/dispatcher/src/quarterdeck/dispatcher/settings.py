"""Settings of the dispatcher; environment prefix `QD_DISPATCHER_`."""

import msgspec


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    look_every_s: float = 0.25
    """Between two looks at what is due. Bounds how late a deadline can fire."""
    outbox_every_s: float = 2.0
    """Between two sweeps of what writers left in the outbox."""
    indexes_every_s: float = 300.0
    """Between two sweeps of index members whose commands have expired."""
