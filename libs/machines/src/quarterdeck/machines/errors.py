"""What can go wrong between us and a guest: a type each, with a stable code.

    MachineError
    ├── ProtocolUnavailable   this guest has no such endpoint; or a library for it is not installed
    ├── ConnectFailed         no socket, not a socket, nobody listens, or no right to it
    │   ├── MonitorBusy       connected, but no greeting: another client has the monitor
    │   └── WrongPassword     the SPICE server refused the ticket
    ├── ConnectionEnded       the other side went away, before or during a request
    ├── TimedOut              no answer in time
    │   ├── AgentSilent       the guest runs, and its agent does not answer
    │   ├── GuestPaused       the guest does not run, so nothing in it can answer
    │   └── StillRunning      a program in the guest goes on beyond the time that its caller gave it
    ├── ProtocolViolation     an answer that is none: not JSON, endless, for somebody else, out of order
    ├── Refused               understood and declined, by QEMU or by the guest's agent
    ├── UnknownKey            no key has this name
    └── NotSupported          this protocol has no such operation

Every one names the guest and the protocol. `retryable`: the request had certainly no effect, so it may be made again.
"""

from typing import ClassVar

from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.machines.guest import ProtocolType


class MachineError(QuarterdeckError):
    """Base of all. `guest`: its name."""

    code = "machine_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, guest: str, protocol: ProtocolType) -> None:
        super().__init__(f"{guest}: {protocol}: {message}")
        self.guest = guest
        self.protocol = protocol


class ProtocolUnavailable(MachineError):
    code = "protocol_unavailable"


class ConnectFailed(MachineError):
    code = "connect_failed"
    retryable = True


class MonitorBusy(ConnectFailed):
    code = "monitor_busy"


class WrongPassword(ConnectFailed):
    code = "wrong_password"
    retryable = False


class ConnectionEnded(MachineError):
    code = "connection_ended"


class TimedOut(MachineError):
    code = "timed_out"


class AgentSilent(TimedOut):
    code = "agent_silent"


class GuestPaused(TimedOut):
    code = "guest_paused"


class StillRunning(TimedOut):
    """`pid`: the program's, in the guest."""

    code = "still_running"

    def __init__(self, pid: int, message: str, *, guest: str, protocol: ProtocolType) -> None:
        super().__init__(message, guest=guest, protocol=protocol)
        self.pid = pid


class ProtocolViolation(MachineError):
    code = "protocol_violation"


class Refused(MachineError):
    """`error_class`: QEMU's, such as `CommandNotFound`; `description`: its text."""

    code = "refused"

    def __init__(self, error_class: str, description: str, *, guest: str, protocol: ProtocolType) -> None:
        super().__init__(f"{error_class}: {description}", guest=guest, protocol=protocol)
        self.error_class = error_class
        self.description = description


class UnknownKey(MachineError):
    """`key`: the name as it was given."""

    code = "unknown_key"

    def __init__(self, key: str, *, guest: str, protocol: ProtocolType) -> None:
        super().__init__(f"unknown key {key!r}", guest=guest, protocol=protocol)
        self.key = key


class NotSupported(MachineError):
    code = "not_supported"
