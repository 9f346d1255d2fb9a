import stat
from pathlib import Path

import pytest

from quarterdeck.wire.identity import AgentKey, enrol_proof_valid, hello_proof_valid

NONCE = bytes(range(32))


def test_proofs_hold_for_their_key_nonce_agent_and_purpose_only() -> None:
    """A hello of another agent, another challenge, another key or another purpose proves nothing."""
    key, other = AgentKey.generate(), AgentKey.generate()
    hello, enrol = key.prove_hello(NONCE, "web-1"), key.prove_enrol(NONCE, "web-1")

    assert hello_proof_valid(key.public_key, hello, nonce=NONCE, agent_id="web-1")
    assert enrol_proof_valid(key.public_key, enrol, nonce=NONCE, agent_id="web-1")
    assert not hello_proof_valid(key.public_key, enrol, nonce=NONCE, agent_id="web-1")
    assert not enrol_proof_valid(key.public_key, hello, nonce=NONCE, agent_id="web-1")
    assert not hello_proof_valid(key.public_key, hello, nonce=bytes(32), agent_id="web-1")
    assert not hello_proof_valid(key.public_key, hello, nonce=NONCE, agent_id="web-2")
    assert not hello_proof_valid(other.public_key, hello, nonce=NONCE, agent_id="web-1")


@pytest.mark.parametrize(("public_key", "signature"), [(b"", b""), (b"short", bytes(64)), (bytes(32), b"x")])
def test_malformed_proof_is_invalid_rather_than_an_error(public_key: bytes, signature: bytes) -> None:
    assert not hello_proof_valid(public_key, signature, nonce=NONCE, agent_id="web-1")


def test_key_file_is_private_and_gives_the_same_key_again(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"

    first, second = AgentKey.load_or_create(path), AgentKey.load_or_create(path)

    assert first.public_key == second.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_key_file_is_refused_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(b"half a key")

    with pytest.raises(ValueError, match="32 bytes"):
        AgentKey.load_or_create(path)

    assert path.read_bytes() == b"half a key"
