"""What can go wrong on the bus, as types. nats-py's own exceptions never leave this package.

    QuarterdeckError
    ├── Unavailable              (contracts) NATS is away or did not answer; safe to repeat
    └── BusError
        ├── WrongLastSequence    a fenced publish lost: somebody wrote the subject first
        ├── MessageTooLarge      over the server's max_payload
        ├── NoResponder          nobody serves this subject
        ├── RequestTimeout       somebody does, but did not answer in time
        ├── RequestFailed        the responder answered with an error
        ├── ApiError             JetStream refused; carries its codes
        │   └── StreamNotFound, ConsumerNotFound
        └── StreamReplaced       the stream was deleted and made anew while it was being read

`Retry` is not a failure but a consumer's answer: "not now, again after `delay_s`".
"""

from quarterdeck.contracts.errors import QuarterdeckError


class BusError(QuarterdeckError):
    code = "bus_error"


class WrongLastSequence(BusError):
    """`actual`: the subject's last sequence when the server told it. Source: nats-server err_code 10071 and 10164."""

    code = "wrong_last_sequence"

    def __init__(self, subject: str, expected: int, actual: int | None) -> None:
        super().__init__(f"{subject}: expected last sequence {expected}, is {actual}")
        self.subject = subject
        self.expected = expected
        self.actual = actual


class MessageTooLarge(BusError):
    code = "message_too_large"

    def __init__(self, subject: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{subject}: {size_bytes} bytes, limit {limit_bytes}")
        self.subject = subject
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NoResponder(BusError):
    code = "no_responder"

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject}: nobody serves it")
        self.subject = subject


class RequestTimeout(BusError):
    code = "request_timeout"

    def __init__(self, subject: str, timeout_s: float) -> None:
        super().__init__(f"{subject}: no answer within {timeout_s:g} s")
        self.subject = subject
        self.timeout_s = timeout_s


class RequestFailed(BusError):
    """`reason`: the stable code of the responder's error."""

    code = "request_failed"

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject = subject
        self.reason = reason


class ApiError(BusError):
    """`status` and `err_code` are JetStream's. Source: nats-server, server/errors.json."""

    code = "jetstream_error"

    def __init__(self, call: str, status: int, err_code: int, description: str) -> None:
        super().__init__(f"{call}: {description} ({status}/{err_code})")
        self.call = call
        self.status = status
        self.err_code = err_code
        self.description = description


class StreamNotFound(ApiError):
    code = "stream_not_found"


class ConsumerNotFound(ApiError):
    code = "consumer_not_found"


class StreamReplaced(BusError):
    """Sequences of before mean nothing now: start over."""

    code = "stream_replaced"

    def __init__(self, stream: str) -> None:
        super().__init__(f"{stream}: deleted and created anew")
        self.stream = stream


class Retry(Exception):
    """Raised by a consumer's handler: deliver these again after `delay_s`; None backs off by delivery count."""

    def __init__(self, delay_s: float | None = None) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s
