"""Errors as problem documents: every type of ours has a status, and none tells what it should not."""

import msgspec
import pytest

from quarterdeck.contracts import errors
from quarterdeck.contracts.errors import InvalidId, NotConfirmed, QuarterdeckError, Unavailable, UnknownAgent
from quarterdeck.web.decoding import decode_query
from quarterdeck.web.problems import ROWS, problem_of


def all_errors(kind: type[QuarterdeckError] = QuarterdeckError) -> set[type[QuarterdeckError]]:
    return {kind}.union(*(all_errors(derived) for derived in kind.__subclasses__()))


def test_every_error_of_the_contracts_is_mapped_by_itself_or_a_named_base() -> None:
    """S3-11"""
    internal = {errors.QuarterdeckError, errors.DecodeError, errors.LinkRefused}
    ours = {kind for kind in all_errors() if kind.__module__ == errors.__name__} - internal
    for kind in ours:
        row = next(ROWS[base] for base in kind.__mro__ if base in ROWS)
        assert 400 <= row.status < 500 or issubclass(kind, Unavailable), kind


def test_a_problem_names_code_field_and_members() -> None:
    """S0-28"""
    problem = problem_of(UnknownAgent(("x", "y"), field="client_id"))
    assert msgspec.json.decode(problem.body) == {
        "type": "urn:quarterdeck:error:unknown_agent",
        "title": "Unknown agent",
        "status": 404,
        "detail": "client_id: no such agent: x, y",
        "code": "unknown_agent",
        "field": "client_id",
        "unknown": ["x", "y"],
    }


def test_an_outage_says_when_to_come_back_and_which_command_it_kept() -> None:
    """S3-11"""
    problem = problem_of(NotConfirmed("c1"))
    assert (problem.status, problem.headers["Retry-After"], problem.members["command_id"]) == (503, "2", "c1")


def test_an_unforeseen_error_keeps_its_cause_to_itself() -> None:
    """S3-12"""
    problem = problem_of(QuarterdeckError("password is hunter2"))
    assert problem.status == 500
    assert b"hunter2" not in problem.body


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 1
    label: list[str] = []


def test_queries_take_the_last_of_several_and_all_of_a_list() -> None:
    """S0-28"""
    query = decode_query(b"limit=1&limit=2&label=a&label=b%3D%20c", _Query)
    assert (query.limit, query.label) == (2, ["a", "b= c"])
    with pytest.raises(errors.InvalidInput) as caught:
        decode_query(b"limits=1", _Query)
    assert caught.value.field == "limits"


def test_the_value_of_a_bad_id_is_not_repeated() -> None:
    """S0-28"""
    assert b"<script>" not in problem_of(InvalidId(field="agent_id", value="<script>")).body
