"""Where and for how long a command runs; on this host and in its guests alike. What it executes is its plan."""

import msgspec


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    marker: str
    """proc_table.marker_of its key; in the environment of all its processes."""
    working_directory: str
    """Empty: the executor's own for commands, or where the guest's agent runs."""
    environment: dict[str, str]
    timeout_s: float | None
    no_output_timeout_s: float | None
    grace_s: float
    """Between SIGTERM and SIGKILL, when a timeout ends it."""
