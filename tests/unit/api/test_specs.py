"""Options of a request become a CommandSpec, or an error that names the member."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.api.errors import ExactlyOneOf
from quarterdeck.api.handlers.batches import batch_spec, new_batch
from quarterdeck.api.handlers.commands import NO_LINK_AT_INTAKE, new_command
from quarterdeck.api.handlers.origin import Origin, origin_of
from quarterdeck.api.handlers.requests import SubmitBatch, SubmitCommand
from quarterdeck.contracts.commands import Lane, TimeoutClock
from quarterdeck.contracts.errors import InvalidInput, QuarterdeckError
from quarterdeck.contracts.ids import Target, shard_of
from quarterdeck.contracts.limits import (
    DEFAULT_MAX_OUTPUT_BYTES,
    DEFAULT_TIMEOUT_MS,
    MAX_MESSAGE_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_PAYLOAD_BYTES,
)
from quarterdeck.contracts.states import CommandState
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.tokens import Principal

ALICE = Principal("default", "alice", "t1")
ORIGIN = Origin(ALICE, 1_700_000_000_000)


def ask(**members: Any) -> SubmitCommand:
    body = {"client_id": "a1", "command_type": "restart", **members}
    return decode_body(msgspec.json.encode(body), SubmitCommand)


def test_seconds_become_milliseconds_and_a_single_command_runs_from_creation() -> None:
    """S0-1"""
    asked = ask(timeout=1.5, queue_for=60, grace=0, no_output_timeout=2, priority=9)
    spec = new_command(asked, Target("a1"), ORIGIN, connected=True).spec
    assert (spec.timeout_ms, spec.timeout_from) == (1_500, TimeoutClock.CREATION)
    assert (spec.queue_for_ms, spec.grace_ms, spec.no_output_timeout_ms) == (60_000, 0, 2_000)
    assert spec.lane is Lane.URGENT


def test_without_a_timeout_the_default_holds() -> None:
    """S0-1"""
    assert new_command(ask(), Target("a1"), ORIGIN, connected=True).spec.timeout_ms == DEFAULT_TIMEOUT_MS


def test_the_limit_of_kept_output_is_checked_and_has_a_default() -> None:
    """I4, I9: truncation is by a number that somebody can name."""
    spec = new_command(ask(max_output_bytes=1_000), Target("a1"), ORIGIN, connected=True).spec
    assert spec.max_output_bytes == 1_000
    spec = new_command(ask(), Target("a1"), ORIGIN, connected=True).spec
    assert spec.max_output_bytes == DEFAULT_MAX_OUTPUT_BYTES
    for wrong in (0, -1, MAX_OUTPUT_BYTES + 1):
        with pytest.raises(InvalidInput) as refused:
            new_command(ask(max_output_bytes=wrong), Target("a1"), ORIGIN, connected=True)
        assert refused.value.field == "max_output_bytes"


def test_a_payload_is_carried_as_it_came() -> None:
    """S0-4"""
    asked = decode_body(
        b'{"client_id":"a1","command_type":"x","payload": {"b": 1.0,\n "a":[ ]}}', SubmitCommand
    )
    assert new_command(asked, Target("a1"), ORIGIN, connected=True).spec.payload == b'{"b": 1.0,\n "a":[ ]}'
    assert new_command(ask(), Target("a1"), ORIGIN, connected=True).spec.payload == b"null"


def test_a_command_for_a_gone_agent_ends_at_once_and_is_not_dispatched() -> None:
    """S0-18"""
    new = new_command(ask(), Target("a1", "vm"), ORIGIN, connected=False)
    assert new.end is not None
    assert (new.end.to, new.end.fields["reason"]) == (CommandState.UNREACHABLE, NO_LINK_AT_INTAKE)
    assert new.end.fields["error"] == "client not connected: a1/vm"
    assert new.messages == ()


@pytest.mark.parametrize("members", [{"queue_for": 5}, {"retry": {"max_attempts": 2}}])
def test_with_a_queue_or_retries_a_gone_agent_is_the_dispatchers_matter(members: dict[str, Any]) -> None:
    """S0-36, S4-37"""
    new = new_command(ask(**members), Target("a1"), ORIGIN, connected=False)
    assert new.end is None
    assert len(new.messages) == 1


@given(st.permutations(["client_ids", "a", "b", "c"]))
def test_the_same_request_in_another_order_has_the_same_hash(order: list[str]) -> None:
    """S3-5"""
    body = msgspec.json.encode({name: {"x": 1, "y": [2]} for name in order})
    spaced = msgspec.json.format(body, indent=4)
    hashes = {
        origin_of(ALICE, 1, key="k", path="/p", body=raw).body_hash
        for raw in (body, spaced, msgspec.json.encode({n: {"y": [2], "x": 1} for n in sorted(order)}))
    }
    assert len(hashes) == 1


def test_an_idempotency_key_chooses_the_shard() -> None:
    """S3-5"""
    origin = origin_of(ALICE, 1, key="k", path="/p", body=b"{}")
    other = origin_of(Principal("default", "bob", "t2"), 1, key="k", path="/p", body=b"{}")
    assert shard_of(origin.fresh_id()) == shard_of(origin.fresh_id())
    assert origin.fresh_id() != origin.fresh_id()
    assert origin.idempotency != other.idempotency


def test_the_creating_event_has_no_empty_container() -> None:
    """S3-8"""

    def check(value: object) -> None:
        assert value not in ({}, [], None)
        if isinstance(value, dict):
            for member in value.values():
                check(member)

    check(dict(new_command(ask(env={"A": "b"}), Target("a1"), ORIGIN, connected=True).event_payload))


def test_the_largest_batch_chunk_fits_a_message() -> None:
    """S4-13"""
    longest = "x" * 64
    targets = [Target(f"{index:03d}{longest}"[:64], longest) for index in range(500)]
    content = '"' * ((MAX_PAYLOAD_BYTES - 20) // 2)
    spec = batch_spec(SubmitBatch(target_vps_ids=[], command_content=content))
    new = new_batch(spec, targets, ORIGIN, body=b"{}")
    (message,) = new.messages
    assert len(message.body) <= MAX_MESSAGE_BYTES
    assert len(msgspec.json.encode(new.event_payloads[0])) <= MAX_MESSAGE_BYTES


def test_exclusive_members_are_both_named() -> None:
    """S4-12"""
    with pytest.raises(ExactlyOneOf) as caught:
        batch_spec(SubmitBatch(target_vps_ids=["a"]))
    assert caught.value.fields == ("command_content", "script_id")
    assert "command_content" in caught.value.message
    assert "script_id" in caught.value.message


@given(st.binary(max_size=200))
def test_no_body_whatever_escapes_the_typed_errors(body: bytes) -> None:
    """S0-28"""
    try:
        decode_body(body, SubmitCommand)
    except QuarterdeckError as error:
        assert error.field


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"client_id": _json, "command_type": _json},
        optional=dict.fromkeys(
            ("payload", "timeout", "retry", "env", "priority", "grace", "selector"), _json
        ),
    )
)
def test_any_json_is_a_command_or_a_typed_error(body: dict[str, Any]) -> None:
    """S0-28"""
    try:
        asked = decode_body(msgspec.json.encode(body), SubmitCommand)
        new_command(asked, Target("a1"), ORIGIN, connected=True)
    except InvalidInput as error:
        assert error.field


@pytest.mark.parametrize(("preset", "timeout_ms"), [("quick", 10_000), ("normal", 30_000), ("long", 60_000)])
def test_a_timeout_may_be_a_preset(preset: str, timeout_ms: int) -> None:
    """S0-16"""
    new = new_command(ask(timeout=preset), Target("a1", None), ORIGIN, connected=True)

    assert new.spec.timeout_ms == timeout_ms


def test_a_command_that_depends_on_others_waits_also_for_an_agent_that_is_away() -> None:
    """S0-40: its time runs from its release."""
    dependency = "01a1fd08-9b86-704f-9624-a7ae3da839d1"
    new = new_command(ask(depends_on=[dependency]), Target("a1", None), ORIGIN, connected=False)

    assert new.end is None
    assert new.spec.depends_on == (dependency,)
    assert not new.spec.runs_from_creation


def test_there_is_a_limit_to_dependencies() -> None:
    """S0-28, S0-40"""
    dependency = "01a1fd08-9b86-704f-9624-a7ae3da839d1"

    with pytest.raises(InvalidInput) as caught:
        new_command(ask(depends_on=[dependency] * 101), Target("a1", None), ORIGIN, connected=True)

    assert caught.value.field == "depends_on"
