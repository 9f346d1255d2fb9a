"""Who this agent is and whom it trusts, as kept in its data directory.

    identity.key      Ed25519 key, made at first start, mode 0600
    enrolment.json    tenant and agent id that a gateway gave, with the issuer key to pin
    ca.pem            CA certificate from the join token

Used by the front alone; the executor never sees a key.
"""

from pathlib import Path

import msgspec

from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.settings import AgentSettings
from quarterdeck.wire.identity import AgentKey
from quarterdeck.wire.join_token import JoinToken


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What Enrolled said."""

    tenant: str
    agent_id: str
    issuer_key: bytes = b""
    """Pinned for signed orders."""


class Credentials:
    """The identity of one agent and its place on disk."""

    def __init__(self, agent_id: str, key: AgentKey, *, directory: Path | None = None) -> None:
        """`directory`: where an enrolment is kept; None keeps it in memory (simulations)."""
        self.agent_id = agent_id
        self.key = key
        self.enrolment: Enrolment | None = None
        self.join_secret: str | None = None
        """Offered when there is no enrolment yet."""
        self._directory = directory

    @classmethod
    def load(cls, settings: AgentSettings) -> "Credentials":
        """Reads, and where missing makes, what is in `settings.data_dir`.

        Raises InvalidJoinToken, BadAgentSettings (never enrolled and no token, or a damaged file).
        """
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            key = AgentKey.load_or_create(settings.data_dir / "identity.key")
        except ValueError as error:
            raise BadAgentSettings(
                "identity.key is damaged: remove it, and have the agent revoked", field="data_dir"
            ) from error
        credentials = cls(settings.agent_id, key, directory=settings.data_dir)
        credentials.enrolment = _read_enrolment(settings.data_dir, settings.agent_id)
        if settings.join_token is not None:
            credentials.join_secret = JoinToken.parse(settings.join_token).secret
        if credentials.enrolment is None and credentials.join_secret is None:
            raise BadAgentSettings("this agent is not enrolled yet: give it a join token", field="join_token")
        return credentials

    def enrolled(self, enrolment: Enrolment) -> None:
        """Remember an enrolment. The join secret is used up."""
        self.enrolment = enrolment
        self.join_secret = None
        if self._directory is not None:
            draft = self._directory / "enrolment.json.new"
            draft.write_bytes(msgspec.json.encode(enrolment))
            draft.replace(self._directory / "enrolment.json")


def _read_enrolment(directory: Path, agent_id: str) -> Enrolment | None:
    try:
        enrolment = msgspec.json.decode((directory / "enrolment.json").read_bytes(), type=Enrolment)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAgentSettings(
            "enrolment.json is damaged: remove it and give a join token", field="data_dir"
        ) from error
    # Enrolled under another id: that enrolment is not ours, and this id needs one of its own.
    return enrolment if enrolment.agent_id == agent_id else None


def trusted_ca_pem(settings: AgentSettings) -> bytes:
    """The CA that gateways must prove: given, or from the join token and kept. Raises BadAgentSettings."""
    if settings.ca_path is not None:
        try:
            return settings.ca_path.read_bytes()
        except OSError as error:
            raise BadAgentSettings(f"CA certificate: {error}", field="ca_path") from error
    kept = settings.data_dir / "ca.pem"
    if settings.join_token is not None:
        pem = JoinToken.parse(settings.join_token).ca_pem.encode()
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only when it is news: a full disk must keep no front from starting again.
        if not kept.exists() or kept.read_bytes() != pem:
            draft = kept.with_suffix(".new")
            draft.write_bytes(pem)
            draft.replace(kept)
        return pem
    try:
        return kept.read_bytes()
    except FileNotFoundError:
        raise BadAgentSettings("no CA certificate: give a join token or a CA file", field="ca_path") from None
