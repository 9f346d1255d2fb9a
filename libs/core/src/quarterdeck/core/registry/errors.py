"""What a write to the registry can lose against."""

from quarterdeck.contracts.agents import Dialect
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


class AgentIdTaken(QuarterdeckError):
    """Another agent has the id. An id is free again once its agent was revoked."""

    code = "agent_id_taken"

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"agent_id: {agent_id} is another agent", field="agent_id")
        self.agent_id = agent_id


class IdentityTaken(QuarterdeckError):
    """Another agent, of this tenant or of another, has the name in its protocol."""

    code = "identity_taken"

    def __init__(self, dialect: Dialect, identity: str) -> None:
        super().__init__(f"identity: {identity} is registered for another agent", field="identity")
        self.dialect = dialect
        self.identity = identity
