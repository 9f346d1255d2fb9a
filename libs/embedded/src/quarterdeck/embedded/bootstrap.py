"""What a system needs before anybody can use it: a CA, gateway certificates, an API token, a join token.

Owns their files below pki/ (secrets with mode 0600) and their records in the registry, where only hashes are kept. The
token's text stays in the data directory, so that a restart shows the same one. Called by system.py at each start.
"""

from pathlib import Path
from typing import Final, NamedTuple

from quarterdeck.contracts.agents import ApiToken, JoinToken
from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.errors import AlreadyExists
from quarterdeck.core.registry.keys import api_token_key, join_token_key
from quarterdeck.embedded.layout import DataDir
from quarterdeck.web.tokens import new_token_text, token_hash
from quarterdeck.wire import join_token as wire
from quarterdeck.wire.pki import CertificateAuthority, write_private

TENANT: Final = "default"
PRINCIPAL: Final = "operator"
TOKEN_ID: Final = "embedded"

_JOIN_USES: Final = 1_000_000
_JOIN_LIFE_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""Many uses and ten years: an embedded system is one operator's own. Fleets make their own with `qd token join`."""


class Trust(NamedTuple):
    """The files and texts that the rest of the system is given."""

    ca: Path
    gateway_cert: Path
    gateway_key: Path
    api_token: str
    join_token: str
    join_token_file: Path


def load_or_create(data_dir: DataDir) -> Trust:
    """Makes what is missing; the gateways' certificate is made anew at each start, so it never grows old."""
    authority = CertificateAuthority.load_or_create(data_dir.pki)
    issued = authority.issue_server()
    cert, key = data_dir.pki / "gateway.pem", data_dir.pki / "gateway.key"
    cert.write_bytes(issued.certificate_pem)
    write_private(key, issued.key_pem)
    join_token_file = data_dir.pki / "join-token"
    return Trust(
        ca=data_dir.pki / "ca.pem",
        gateway_cert=cert,
        gateway_key=key,
        api_token=_kept(data_dir.pki / "api-token", new_token_text()),
        join_token=_kept(join_token_file, str(wire.JoinToken.create(authority.certificate_der))),
        join_token_file=join_token_file,
    )


async def register(nats_url: str, trust: Trust, clock: Clock) -> None:
    """Files both tokens in the registry, if they are not there yet. Raises Unavailable."""
    bus = await Bus.connect(nats_url, name="quarterdeck-up")
    try:
        await ensure_streams(bus)
        registry = Registry(bus)
        now_ms = clock.now_ms()
        api = ApiToken(token_id=TOKEN_ID, tenant=TENANT, principal=PRINCIPAL, created_at_ms=now_ms)
        try:
            await registry.tokens.create(api_token_key(token_hash(trust.api_token)), api)
        except AlreadyExists:
            pass  # an earlier run of this data directory
        # Put, not created: each start gives it its full number of uses again.
        await registry.tokens.put(
            join_token_key(wire.secret_hash(wire.JoinToken.parse(trust.join_token).secret)),
            JoinToken(
                token_id=TOKEN_ID,
                tenant=TENANT,
                created_at_ms=now_ms,
                expires_at_ms=now_ms + _JOIN_LIFE_MS,
                uses_left=_JOIN_USES,
            ),
        )
    finally:
        await bus.close()


def _kept(path: Path, fresh: str) -> str:
    """The text in `path`, or `fresh`, which is then kept there."""
    try:
        kept = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return kept
    write_private(path, f"{fresh}\n".encode())
    return fresh
