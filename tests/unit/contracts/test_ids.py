"""Ids: their pattern, their shard, and the ids of children."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.errors import InvalidId, InvalidTarget
from quarterdeck.contracts.ids import (
    SHARDS,
    Target,
    check_id,
    check_uuid,
    child_id,
    created_at_ms,
    new_id,
    parse_target,
    shard_for,
    shard_of,
)

HOSTILE = ["", "*", ">", "a.b", "a b", "a\r\n", "a\n", "{x}", "a/b/c", "é", "a" * 65, "\x00", "$JS"]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_could_leave_its_place_in_a_subject_or_key_is_no_id(value: str) -> None:
    """S0-28: wildcards, dots, braces, spaces, line breaks and lengths are refused, naming the field."""
    with pytest.raises(InvalidId) as caught:
        check_id(value, "client_id")

    assert caught.value.field == "client_id"


@pytest.mark.parametrize("value", [*HOSTILE, "/", "a/", "/a", "a/*", "a/b.c"])
def test_what_is_no_target_is_refused(value: str) -> None:
    """S4-12"""
    with pytest.raises(InvalidTarget) as caught:
        parse_target(value, "target_vps_ids")

    assert caught.value.field == "target_vps_ids"


def test_a_target_is_an_agent_or_a_guest_of_one() -> None:
    assert parse_target("hv-1", "t") == Target("hv-1")
    assert parse_target("hv-1/vm_2", "t") == Target("hv-1", "vm_2")
    assert str(parse_target("hv-1/vm_2", "t")) == "hv-1/vm_2"


@given(st.integers(0, SHARDS - 1))
def test_an_id_carries_its_shard(shard: int) -> None:
    identifier = new_id(shard)

    assert shard_of(identifier) == shard
    assert uuid.UUID(identifier).version == 7


@given(st.integers(0, SHARDS - 1), st.integers(0, 50_000))
def test_a_child_id_is_a_function_of_batch_and_index_in_the_batch_s_shard(shard: int, index: int) -> None:
    """I2: a redelivered chunk finds the children that the first delivery made."""
    batch = new_id(shard)
    child = child_id(batch, index)

    assert child == child_id(batch, index)
    assert child != child_id(batch, index + 1)
    assert (shard_of(child), created_at_ms(child)) == (shard, created_at_ms(batch))
    assert (uuid.UUID(child).version, uuid.UUID(child).variant) == (7, uuid.RFC_4122)


def test_children_of_a_large_batch_are_all_different() -> None:
    batch = new_id()

    assert len({child_id(batch, index) for index in range(50_000)}) == 50_000


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1_000)]

    assert [created_at_ms(one) for one in sorted(ids)] == sorted(created_at_ms(one) for one in ids)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_names_always_fall_into_the_same_shard(parts: list[str]) -> None:
    assert shard_for(*parts) == shard_for(*parts)
    assert 0 <= shard_for(*parts) < SHARDS


@pytest.mark.parametrize("value", ["", "x", "550e8400", "zz0e8400-e29b-41d4-a716-446655440000"])
def test_what_is_no_uuid_is_refused(value: str) -> None:
    with pytest.raises(InvalidId):
        check_uuid(value, "command_id")
