"""What ends in this service is counted here: nobody behind it hears of it."""

from typing import Any

import pytest

from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from tests.integration.api.deck import Deck

S = CommandState


def _ended(kind: str, state: str) -> float:
    found = metrics.REGISTRY.get_sample_value("command_failed_total", {"command_type": kind, "state": state})
    return found or 0.0


def _measured(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("command_duration_seconds_count", {"command_type": kind}) or 0.0


def _ask(kind: str, **members: Any) -> dict[str, Any]:
    return {"client_id": "a1", "command_type": kind, **members}


async def test_a_command_that_is_unreachable_at_once_counts_as_an_end(deck: Deck) -> None:
    """S0-22, S0-26"""
    await deck.agent("a1", linked=False)

    answer = await deck.http.post("/api/command", json=_ask("counted-unreachable"))

    assert answer.status_code == 409
    assert (_ended("counted-unreachable", "unreachable"), _measured("counted-unreachable")) == (1, 1)


async def test_a_command_that_is_stopped_before_it_was_sent_counts_as_an_end_once(deck: Deck) -> None:
    """S0-22, S0-26"""
    await deck.agent("a1")
    command_id = (await deck.http.post("/api/command", json=_ask("counted-stopped"))).json()["command_id"]

    for _ in range(2):
        await deck.http.post(f"/api/command/{command_id}/terminate")

    assert (_ended("counted-stopped", "terminated"), _measured("counted-stopped")) == (1, 1)


async def test_a_task_that_is_stopped_before_it_was_made_counts_as_an_end(deck: Deck) -> None:
    """S0-22"""
    await deck.agent("a1")
    ask = {"client_ids": ["a1"], "command_type": "counted-task"}
    batch_id = (await deck.http.post("/api/command/batch", json=ask)).json()["batch_command_id"]
    shown = (await deck.http.get(f"/api/batch_commands/{batch_id}")).json()
    child = shown["tasks"][0]["child_command_id"]

    await deck.http.post(f"/api/batch_commands/{batch_id}/tasks/{child}/terminate")

    assert (_ended("counted-task", "terminated"), _measured("counted-task")) == (1, 1)


@pytest.mark.parametrize("end", [S.SUCCEEDED, S.FAILED])
async def test_an_answer_that_is_given_again_counts_and_a_stop_of_what_ended_does_not(
    deck: Deck, end: CommandState
) -> None:
    """S0-22, S0-33"""
    await deck.agent("a1")
    kind = f"counted-{end}"
    await deck.http.put("/api/policy", json={"cached": {kind: 60}})
    first = (await deck.http.post("/api/command", json=_ask(kind))).json()["command_id"]
    await deck.move(first, S.SENT)
    await deck.move(first, end, completed_at_ms=deck.clock.now_ms())

    await deck.http.post("/api/command", json=_ask(kind))
    await deck.http.post(f"/api/command/{first}/terminate")

    assert _measured(kind) == (1 if end is S.SUCCEEDED else 0)
