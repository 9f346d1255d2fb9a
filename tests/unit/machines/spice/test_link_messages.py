"""S2-22F, S2-24F: how a channel links, against bytes packed by hand from spice-protocol's structures."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given

from quarterdeck.machines.spice import link_messages
from quarterdeck.machines.spice.link_messages import NEEDED, Capability, LinkReply
from quarterdeck.machines.spice.messages import ChannelType, MalformedMessage
from quarterdeck.machines.spice.ticket import seal
from tests.effort import effort
from tests.fuzz.damage import damaged

KEY_FIELD = bytes(range(162))


def reply_body(
    *, error: int = 0, words: str = "01000000 01000000", offset: int = 178, caps: str = "0f000000 09000000"
) -> bytes:
    return (
        error.to_bytes(4, "little")
        + KEY_FIELD
        + bytes.fromhex(words)
        + offset.to_bytes(4, "little")
        + bytes.fromhex(caps)
    )


def test_main_channel_asks_for_a_new_session() -> None:
    """S2-22F: magic, 2.2, 22 bytes; session 0, main, number 0, one word of common capabilities behind 18 bytes."""
    wire = "52454451 02000000 02000000 16000000  00000000 01 00 01000000 00000000 12000000  0b000000"

    assert link_messages.request(ChannelType.MAIN, 0) == bytes.fromhex(wire)


def test_inputs_channel_names_its_session() -> None:
    """S2-22F."""
    wire = "52454451 02000000 02000000 16000000  efbeadde 03 00 01000000 00000000 12000000  0b000000"

    assert link_messages.request(ChannelType.INPUTS, 0xDEADBEEF) == bytes.fromhex(wire)


def test_reply_tells_key_and_capabilities() -> None:
    """S2-22F."""
    every_one = NEEDED | Capability.AUTH_SASL

    assert link_messages.reply(reply_body()) == LinkReply(0, KEY_FIELD, every_one)


def test_reply_without_capabilities_has_none() -> None:
    body = reply_body(words="00000000 00000000", caps="")

    assert link_messages.reply(body).capabilities == Capability(0)


@pytest.mark.parametrize("offset", [183, 0xFFFFFFFF])
def test_capabilities_outside_the_reply_are_malformed(offset: int) -> None:
    """S2-25F."""
    with pytest.raises(MalformedMessage):
        link_messages.reply(reply_body(offset=offset))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("48545450 02000000 02000000 ba000000", id="other magic"),
        pytest.param("52454451 03000000 00000000 ba000000", id="other version"),
        pytest.param("52454451 02000000 02000000 b1000000", id="too short"),
        pytest.param("52454451 02000000 02000000 01100000", id="too long"),
        pytest.param("52454451 02000000 02000000 ffffffff", id="endless"),
    ],
)
def test_header_that_no_server_sends_is_malformed(header: str) -> None:
    """S2-25F: before anything of the reply is read."""
    with pytest.raises(MalformedMessage):
        link_messages.reply_size_bytes(bytes.fromhex(header))


@effort(200)
@given(damaged([reply_body(), reply_body(error=7, words="00000000 00000000", caps="")]))
def test_garbage_is_a_reply_or_malformed(garbage: bytes) -> None:
    """S2-24F, S2-25F."""
    body = garbage.ljust(178, b"\0")
    try:
        reply = link_messages.reply(body)
    except MalformedMessage:
        return
    assert reply.public_key == body[4:166]


def test_sealed_password_opens_with_the_servers_key() -> None:
    """S2-22F: the mechanism, and OAEP with SHA-1 over the password and its NUL."""
    key = rsa.generate_private_key(65537, 1024)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    ticket = link_messages.ticket(seal("épée", public_key))

    assert len(public_key) == 162
    assert ticket[:4] == b"\1\0\0\0"
    assert len(ticket) == 132
    assert key.decrypt(ticket[4:], OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)) == "épée\0".encode()


@pytest.mark.parametrize("public_key", [bytes(162), b""], ids=["zeros", "nothing"])
def test_key_that_is_none_is_malformed(public_key: bytes) -> None:
    """S2-25F."""
    with pytest.raises(MalformedMessage):
        seal("secret", public_key)


def test_key_that_no_spice_server_has_is_malformed() -> None:
    """S2-25F: another algorithm, another size."""
    for key in (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)):
        public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(MalformedMessage):
            seal("secret", public_key)
