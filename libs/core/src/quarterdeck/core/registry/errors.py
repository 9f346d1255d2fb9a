"""What a write to the registry can lose against."""

from quarterdeck.contracts.errors import QuarterdeckError


class AlreadyExists(QuarterdeckError):
    """`create` of a key that has a value."""

    code = "already_exists"

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"{bucket}: {key} exists")
        self.bucket = bucket
        self.key = key


class Conflict(QuarterdeckError):
    """`update` or `delete` of a revision that is not the last one: somebody was quicker."""

    code = "conflict"

    def __init__(self, bucket: str, key: str, revision: int, actual: int | None) -> None:
        super().__init__(f"{bucket}: {key} is at revision {actual}, not {revision}")
        self.bucket = bucket
        self.key = key
        self.revision = revision
        self.actual = actual
