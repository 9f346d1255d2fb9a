"""Shows an outcome to people (a table), to the README (Markdown) and to programs (JSON)."""

from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quarterdeck.testing.checker import Verdict
from tests.chaos.run import Outcome

_SHOWN: Final = 8
"""Violations per invariant on the screen; the file has all."""


def write_json(path: Path, outcome: Outcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")


def print_table(console: Console, outcome: Outcome) -> None:
    table = Table(title=_headline(outcome))
    for column in ("", "promise", "put to the test", "verdict", "of which"):
        table.add_column(column, justify="right" if column == "put to the test" else "left")
    for verdict in outcome.verdicts:
        table.add_row(
            verdict.invariant,
            verdict.promise,
            _tested(verdict),
            "[green]kept[/]" if verdict.kept else f"[red]broken {len(verdict.violations)} ×[/]",
            _notes(verdict),
        )
    console.print(table)
    console.print(f"killed: {_counts(outcome.killed)}", highlight=False)
    console.print(f"stopped for 0.2–5 s: {_counts(outcome.stopped)}", highlight=False)
    console.print(f"clients repeated after: {_counts(outcome.transient_failures)}", highlight=False)
    console.print(f"everything had ended {outcome.quiet_took_s:.0f} s after the last fault", highlight=False)
    for text in outcome.refusals[:_SHOWN]:
        console.print(f"[red]unexplained answer[/] {escape(text)}", highlight=False)
    for verdict in outcome.verdicts:
        for violation in verdict.violations[:_SHOWN]:
            console.print(f"[red]{verdict.invariant}[/] {escape(violation)}", highlight=False)


def markdown(outcome: Outcome) -> str:
    """The table for the README."""
    lines = ["| | promise | put to the test | verdict |", "| --- | --- | --- | --- |"]
    for verdict in outcome.verdicts:
        kept = "kept" if verdict.kept else f"**broken {len(verdict.violations)} ×**"
        lines.append(f"| {verdict.invariant} | {verdict.promise} | {_tested(verdict)} | {kept} |")
    struck = f"Killed: {_counts(outcome.killed)}. Stopped for 0.2–5 s: {_counts(outcome.stopped)}."
    return "\n".join([*lines, "", f"{_headline(outcome)}. {struck}"])


def _headline(outcome: Outcome) -> str:
    plan = outcome.plan
    lost = f", Redis lost {outcome.flushes} ×" if outcome.flushes else ""
    return (
        f"seed {plan.seed}: {plan.duration_s / 60:g} min, {plan.agents} agents, "
        f"{sum(outcome.killed.values())} kills, {sum(outcome.stopped.values())} pauses{lost}"
    )


def _tested(verdict: Verdict) -> str:
    return f"{verdict.tested:,} {verdict.unit}"


def _notes(verdict: Verdict) -> str:
    return _counts(verdict.notes)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(counts.items())) or "none"
