"""Subjects are built and parsed in one place, and their parts cannot escape."""

import pytest

from quarterdeck.contracts import subjects
from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.errors import DecodeError, InvalidId


def test_output_and_event_subjects_come_back_as_they_went() -> None:
    output = subjects.output("acme", None, "c1", 2, "stdout")
    event = subjects.event("acme", "b1", "c1", "command", "completed")

    assert subjects.parse_output(output) == ("acme", None, "c1", 2, "stdout")
    assert subjects.parse_event(event) == ("acme", "b1", "c1", "command", "completed")
    assert subjects.is_output(output)
    assert not subjects.is_output(event)


@pytest.mark.parametrize(
    "subject", ["", "qd.output.acme", "qd.output.a.b.c.x.stdout", "qd.event.a.b.c.d.e.f"]
)
def test_foreign_subjects_are_decode_errors(subject: str) -> None:
    with pytest.raises(DecodeError):
        subjects.parse_output(subject)
    with pytest.raises(DecodeError):
        subjects.parse_event(subject)


@pytest.mark.parametrize("tenant", ["*", ">", "a.b", ""])
def test_no_wildcard_gets_into_a_subject(tenant: str) -> None:
    """I11: a tenant's filter cannot be widened."""
    with pytest.raises(InvalidId):
        subjects.command(tenant, Lane.URGENT)
    with pytest.raises(InvalidId):
        subjects.watch_tenant(tenant)
    with pytest.raises(InvalidId):
        subjects.watch_batch(tenant, "b1")
    with pytest.raises(InvalidId):
        subjects.watch_command("acme", tenant, "c1")
    with pytest.raises(InvalidId):
        subjects.order(tenant)


@pytest.mark.parametrize(
    ("priority", "lane"), [(1, "bulk"), (3, "bulk"), (4, "normal"), (7, "normal"), (8, "urgent")]
)
def test_priority_chooses_the_lane(priority: int, lane: str) -> None:
    """S0-39F"""
    assert Lane.of(priority) == lane
