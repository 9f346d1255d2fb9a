"""Every key of the registry, built here and nowhere else.

Parts are checked against the id pattern, so a key is always a valid subject with a known number of tokens.
"""

import hashlib
from typing import Final, NamedTuple

from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.ids import check_id

_API: Final = "api"
_JOIN: Final = "join"
_TICKET: Final = "ticket"
_IDENTITY: Final = "identity"
_APPROVAL: Final = "approval"


class AgentKey(NamedTuple):
    tenant: str
    agent_id: str


def agent_key(tenant: str, agent_id: str) -> str:
    return f"{check_id(tenant, 'tenant')}.{check_id(agent_id, 'agent_id')}"


def link_key(tenant: str, agent_id: str) -> str:
    return f"{check_id(tenant, 'tenant')}.{check_id(agent_id, 'agent_id')}"


def parse_agent_key(key: str) -> AgentKey:
    """Of `agent_key` and `link_key`. Raises DecodeError."""
    tenant, dot, agent_id = key.partition(".")
    if not dot or "." in agent_id:
        raise DecodeError(f"no agent key: {key!r}")
    return AgentKey(tenant, agent_id)


def policy_key(tenant: str) -> str:
    return check_id(tenant, "tenant")


def approval_key(tenant: str, subject_id: str) -> str:
    """`subject_id`: of a command or a batch."""
    return f"{_APPROVAL}.{check_id(tenant, 'tenant')}.{check_id(subject_id, 'id')}"


def gateway_key(gateway_id: str) -> str:
    return check_id(gateway_id, "gateway_id")


def api_token_key(token_hash: str) -> str:
    """`token_hash`: SHA-256 of the token, hex."""
    return f"{_API}.{check_id(token_hash, 'token_hash')}"


def join_token_key(secret_hash: str) -> str:
    """`secret_hash`: SHA-256 of the secret, hex."""
    return f"{_JOIN}.{check_id(secret_hash, 'secret_hash')}"


def ticket_key(ticket_hash: str) -> str:
    """`ticket_hash`: SHA-256 of the ticket, hex."""
    return f"{_TICKET}.{check_id(ticket_hash, 'ticket_hash')}"


def identity_key(dialect: Dialect, identity: str) -> str:
    """`identity`: an agent's name in its own protocol, any text."""
    return f"{_IDENTITY}.{identity_digest(dialect, identity)}"


def identity_digest(dialect: Dialect, identity: str) -> str:
    """The name as an id: SHA-256, hex."""
    return hashlib.sha256(f"{dialect}:{identity}".encode()).hexdigest()


def is_api_token_key(key: str) -> bool:
    return key.startswith(f"{_API}.")


def is_join_token_key(key: str) -> bool:
    return key.startswith(f"{_JOIN}.")
