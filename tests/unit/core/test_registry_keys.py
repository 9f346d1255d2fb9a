"""Keys of the registry."""

import pytest

from quarterdeck.contracts.errors import DecodeError, InvalidId
from quarterdeck.core.registry import keys


@pytest.mark.parametrize("foreign", ["*", ">", "a.b", "a b", "a\r\nb", "{x}", "", "x" * 65])
def test_no_key_is_built_from_a_foreign_id(foreign: str) -> None:
    """S0-28: every id that enters a key matches the id pattern."""
    for build in (keys.gateway_key, keys.api_token_key, keys.join_token_key):
        with pytest.raises(InvalidId):
            build(foreign)
    for pair in ((foreign, "a1"), ("acme", foreign)):
        with pytest.raises(InvalidId):
            keys.agent_key(*pair)
        with pytest.raises(InvalidId):
            keys.link_key(*pair)


def test_agent_key_comes_apart_again() -> None:
    assert keys.parse_agent_key(keys.agent_key("acme", "a1")) == ("acme", "a1")


@pytest.mark.parametrize("key", ["", "acme", "acme.a1.more"])
def test_key_that_is_no_agents_is_refused(key: str) -> None:
    with pytest.raises(DecodeError):
        keys.parse_agent_key(key)


def test_tokens_of_the_two_kinds_never_share_a_key() -> None:
    assert keys.is_api_token_key(keys.api_token_key("abc"))
    assert keys.is_join_token_key(keys.join_token_key("abc"))
    assert keys.api_token_key("abc") != keys.join_token_key("abc")
