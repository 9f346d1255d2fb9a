"""Names that agents have in other protocols: checked, in the one form that is stored, and as an agent id of ours.

Pure. Called by the api when an operator registers an agent, and by the gateways' dialects when that agent comes: both
sides write the same name, or the agent would be a stranger.
"""

import hashlib
import ipaddress
import re
from typing import Final

from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.ids import ID_PATTERN

MAX_CLIENT_ID_CHARS: Final = 128
_MAX_VPS_DB_ID: Final = 2**31 - 1
"""int32 on the wire."""
_MAC: Final = re.compile(r"\A[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_MAX_ID_CHARS: Final = 64
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_-]+")
_DIGEST_CHARS: Final = 8


def vps_identity(vps_db_id: int) -> str:
    """agent_service: the number in decimal. Raises InvalidInput outside 1 … 2³¹ − 1."""
    if not 1 <= vps_db_id <= _MAX_VPS_DB_ID:
        raise InvalidInput(
            f"vps_db_id: expected 1 to {_MAX_VPS_DB_ID}", field="identity.vps_db_id", value=vps_db_id
        )
    return str(vps_db_id)


def ip_mac_identity(ip: str, mac: str) -> str:
    """deepflow: `<ip>-<mac>`, the link's key on that wire, in lower case. Raises InvalidInput."""
    try:
        address = ipaddress.ip_address(
            ip.partition("%")[0]
        )  # without the zone of a link-local address: any text
    except ValueError:
        raise InvalidInput(
            "ip: expected an IPv4 or IPv6 address", field="identity.ip", value=ip[:64]
        ) from None
    if not _MAC.match(mac.lower()):
        raise InvalidInput("mac: expected aa:bb:cc:dd:ee:ff", field="identity.mac", value=mac[:64])
    return f"{address}-{mac.lower()}"


def client_identity(client_id: str) -> str:
    """quicflow: as it is. Raises InvalidInput unless it is 1 to 128 printable characters."""
    if not 1 <= len(client_id) <= MAX_CLIENT_ID_CHARS or not client_id.isprintable():
        raise InvalidInput(
            f"client_id: expected 1 to {MAX_CLIENT_ID_CHARS} printable characters",
            field="identity.client_id",
            value=client_id[:MAX_CLIENT_ID_CHARS],
        )
    return client_id


def suggested_agent_id(dialect: Dialect, identity: str) -> str:
    """`vps-17`, `df-10-0-0-1-aa-bb-…`, or the client_id itself where that is an id of ours."""
    match dialect:
        case Dialect.AGENT_SERVICE:
            return f"vps-{identity}"
        case Dialect.DEEPFLOW:
            return slug(f"df-{identity}")
        case _:
            return slug(identity)


def slug(text: str) -> str:
    """`text` as an agent id: unchanged where it is one, else with `-` for what an id cannot hold."""
    if ID_PATTERN.match(text):
        return text
    made = _NOT_IN_ID.sub("-", text).strip("-")
    return made if made and len(made) <= _MAX_ID_CHARS else distinct(made or "agent", text)


def distinct(agent_id: str, identity: str) -> str:
    """`agent_id` with a piece of `identity`'s digest behind it, for names that fall together as ids."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{agent_id[: _MAX_ID_CHARS - _DIGEST_CHARS - 1]}-{digest}"
