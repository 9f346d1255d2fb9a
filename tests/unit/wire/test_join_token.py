import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.wire.join_token import InvalidJoinToken, JoinToken, secret_hash
from quarterdeck.wire.pki import CertificateAuthority


def test_token_text_carries_the_secret_and_the_ca() -> None:
    authority = CertificateAuthority.create()
    token = JoinToken.create(authority.certificate_der)

    parsed = JoinToken.parse(f"  {token}\n")

    assert parsed == token
    assert parsed.ca_pem.encode() == authority.certificate_pem
    assert str(token).startswith("qdj_")
    assert len(secret_hash(token.secret)) == 64


def test_secret_stays_out_of_repr() -> None:
    token = JoinToken.create(b"certificate")

    assert token.secret not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qdj_",
        "qdj_abc",
        "qdj_abc.",
        "abc.def",
        "qdj_short.QUJD",
        "qdj_" + "a" * 43 + ".",
        "qdj_" + "a" * 43 + ".%%",
    ],
)
def test_damaged_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidJoinToken) as caught:
        JoinToken.parse(text)

    assert "a" * 43 not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        JoinToken.parse(text)
    except InvalidJoinToken:
        pass
