"""A request to register an agent of another protocol → its record. Pure."""

from typing import Any, Final

import msgspec

from quarterdeck.api.handlers.agent_requests import (
    ClientIdentity,
    IpMacIdentity,
    RegisterAgent,
    VpsIdentity,
)
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.identities import client_identity, ip_mac_identity, vps_identity
from quarterdeck.contracts.ids import check_id

_EXPECTED: Final = {
    Dialect.AGENT_SERVICE: '{"vps_db_id": 17}',
    Dialect.DEEPFLOW: '{"ip": "10.0.0.1", "mac": "aa:bb:cc:dd:ee:ff"}',
    Dialect.QUICFLOW: '{"client_id": "client-001"}',
}


def new_record(asked: RegisterAgent, tenant: str, now_ms: int) -> AgentRecord:
    """Raises InvalidId, InvalidInput naming the member."""
    dialect = Dialect(asked.dialect)
    agent_id = check_id(asked.agent_id, "agent_id")
    if not asked.name.isprintable():
        raise InvalidInput("name: expected printable characters", field="name")
    return AgentRecord(
        tenant=tenant,
        agent_id=agent_id,
        name=asked.name or agent_id,
        aliases={dialect: _identity(dialect, bytes(asked.identity))},
        enrolled_at_ms=now_ms,
    )


def _identity(dialect: Dialect, raw: bytes) -> str:
    match dialect:
        case Dialect.AGENT_SERVICE:
            return vps_identity(_decoded(raw, VpsIdentity, dialect).vps_db_id)
        case Dialect.DEEPFLOW:
            named = _decoded(raw, IpMacIdentity, dialect)
            return ip_mac_identity(named.ip, named.mac)
        case _:
            return client_identity(_decoded(raw, ClientIdentity, dialect).client_id)


def _decoded(raw: bytes, kind: Any, dialect: Dialect) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"identity: {dialect} takes {_EXPECTED[dialect]}; {error}", field="identity"
        ) from error
