"""Which machines a run goes to: named targets, label selectors, all; and how many of them.

Owns the meaning of -t, -l, --all and --limit. Pure: the agents come in as a list. Called by `run` and `agents`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from quarterdeck.cli.errors import UsageError
from quarterdeck.contracts.ids import parse_target

_LIMIT: Final = re.compile(r"(\d+)(%?)")


class Labelled(Protocol):
    """An agent, as far as selection looks at it."""

    @property
    def agent_id(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def split_targets(values: Iterable[str]) -> list[str]:
    """`["a,b", "c/guest"]` → `["a", "b", "c/guest"]`, each once. Raises InvalidTarget."""
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    return [str(parse_target(name, "target")) for name in dict.fromkeys(names)]


def parse_selectors(values: Iterable[str]) -> dict[str, str]:
    """`["role=web", "zone=a"]` → a dict. Raises UsageError when there is no `=`."""
    selectors: dict[str, str] = {}
    for value in values:
        name, equals, wanted = value.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{value!r} is no selector; write label=value, and options of the command itself behind --"
            )
        selectors[name] = wanted
    return selectors


def select(agents: Iterable[Labelled], selectors: Mapping[str, str]) -> list[str]:
    """Ids of the agents that have every label, sorted."""
    return sorted(
        agent.agent_id
        for agent in agents
        if all(agent.labels.get(name) == wanted for name, wanted in selectors.items())
    )


def limit(targets: Sequence[str], wanted: str | None) -> list[str]:
    """The first of `targets`: `wanted` is a number, or a percentage that is rounded up; None: all of them.

    Always the same ones for the same fleet, so that a second run goes to the machines of the first.
    """
    if wanted is None:
        return list(targets)
    match = _LIMIT.fullmatch(wanted)
    number = int(match[1]) if match else 0
    if match is None or number == 0 or (match[2] and number > 100):
        raise UsageError(f"{wanted!r} is no limit; write a number such as 5, or a percentage such as 10%")
    if match[2]:
        number = -(-len(targets) * number // 100)
    return list(targets[:number])
