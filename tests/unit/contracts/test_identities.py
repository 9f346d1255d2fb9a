"""Names of agents in other protocols: one form for each, and always an id of ours to go with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.identities import (
    client_identity,
    distinct,
    ip_mac_identity,
    slug,
    suggested_agent_id,
    vps_identity,
)
from quarterdeck.contracts.ids import ID_PATTERN


@pytest.mark.parametrize(
    ("ip", "mac", "identity"),
    [
        ("10.0.0.1", "aa:bb:cc:dd:ee:ff", "10.0.0.1-aa:bb:cc:dd:ee:ff"),
        ("10.0.0.1", "AA:BB:CC:DD:EE:FF", "10.0.0.1-aa:bb:cc:dd:ee:ff"),
        ("fe80::1%eth0", "aa:bb:cc:dd:ee:ff", "fe80::1-aa:bb:cc:dd:ee:ff"),
        ("FE80::0001", "aa:bb:cc:dd:ee:ff", "fe80::1-aa:bb:cc:dd:ee:ff"),
    ],
)
def test_an_address_has_one_form_however_it_is_written(ip: str, mac: str, identity: str) -> None:
    """S1-28"""
    assert ip_mac_identity(ip, mac) == identity


@pytest.mark.parametrize(
    ("ip", "mac", "field"),
    [
        ("10.0.0", "aa:bb:cc:dd:ee:ff", "identity.ip"),
        ("", "aa:bb:cc:dd:ee:ff", "identity.ip"),
        ("10.0.0.1", "aabbccddeeff", "identity.mac"),
        ("10.0.0.1", "aa:bb:cc:dd:ee:ff\n", "identity.mac"),
    ],
)
def test_what_is_no_address_is_named(ip: str, mac: str, field: str) -> None:
    """S0-28"""
    with pytest.raises(InvalidInput) as refusal:
        ip_mac_identity(ip, mac)
    assert refusal.value.field == field


def test_numbers_and_client_ids_have_their_limits() -> None:
    """S0-28"""
    assert vps_identity(2**31 - 1) == "2147483647"
    assert client_identity("ünit 1") == "ünit 1"
    for number in (0, -1, 2**31):
        with pytest.raises(InvalidInput):
            vps_identity(number)
    for client_id in ("", "a\nb", "x" * 129):
        with pytest.raises(InvalidInput):
            client_identity(client_id)


def test_the_longest_address_fits_an_id_unchanged() -> None:
    """S1-28"""
    longest = ip_mac_identity("2001:db8:1111:2222:3333:4444:5555:6666", "aa:bb:cc:dd:ee:ff")
    assert suggested_agent_id(Dialect.DEEPFLOW, longest) == (
        "df-2001-db8-1111-2222-3333-4444-5555-6666-aa-bb-cc-dd-ee-ff"
    )


@given(st.text(max_size=130))
def test_every_name_makes_an_id(name: str) -> None:
    """S1-28"""
    assert ID_PATTERN.match(slug(name))
    assert ID_PATTERN.match(distinct(slug(name), name))
    assert ID_PATTERN.match(suggested_agent_id(Dialect.DEEPFLOW, name))


@given(st.from_regex(ID_PATTERN))
def test_a_name_that_is_an_id_stays(name: str) -> None:
    """S1-28"""
    assert slug(name) == name
    assert suggested_agent_id(Dialect.QUICFLOW, name) == name
