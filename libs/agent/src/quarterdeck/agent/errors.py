"""Errors of the agent: a type with fields and a stable code for whatever ends a link or a start.

QuarterdeckError
├── ConnectionLost      the carrier broke, or never came up; another try may work
├── LinkEnded           one side ended the link in order; `reason` says what to do next
├── ExecutorLost        the front has no executor to speak for; its next session may find one
├── AgentRefused        no gateway will ever take this agent as it is; an operator has to act
└── BadAgentSettings    a setting that the agent cannot work with
"""

from quarterdeck.contracts.errors import QuarterdeckError


class ConnectionLost(QuarterdeckError):
    """`cause`: short text for the log, never from the peer's payload."""

    code = "connection_lost"

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class LinkEnded(QuarterdeckError):
    """`reason`: a contracts.links.LinkEnd or wire.codes.GoodbyeReason, as text."""

    code = "link_ended"

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class ExecutorLost(QuarterdeckError):
    """The session with the executor ended: it stopped, or another front took this one's place."""

    code = "executor_lost"


class AgentRefused(QuarterdeckError):
    """The gateway said that coming back is pointless. `reason`: revoked, identity_conflict or join_token_invalid."""

    code = "agent_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message or reason)
        self.reason = reason


class BadAgentSettings(QuarterdeckError):
    code = "bad_agent_settings"
