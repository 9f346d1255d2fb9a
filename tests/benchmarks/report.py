"""Shows measurements to people (a table) and to programs (a JSON file)."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks.machine import Machine
from tests.benchmarks.measurement import Bound, Figure, Measurement, Target, Verdict

_MARKS: Final = {
    Verdict.STRETCH: "[green]★[/]",
    Verdict.MET: "[green]✓[/]",
    Verdict.MISSED: "[red]✗[/]",
    Verdict.NONE: "",
}
_SIGNS: Final = {Bound.AT_LEAST: "≥", Bound.AT_MOST: "≤"}


def write_json(path: Path, machine: Machine, measurements: Sequence[Measurement], seconds: float) -> None:
    document = {
        "finished_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": machine,
        "measurements": [_with_verdicts(measurement) for measurement in measurements],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def print_table(console: Console, machine: Machine, measurements: Sequence[Measurement]) -> None:
    table = Table(title="Quarterdeck beside the raw limits of the same hops")
    table.add_column("job")
    table.add_column("product", justify="right")
    table.add_column("raw limit", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for measurement in measurements:
        for number, figure in enumerate(measurement.figures):
            last = number == len(measurement.figures) - 1
            table.add_row(*_row(figure), end_section=last)
    console.print(table)
    console.print(
        f"{machine.cores} cores ({machine.cpu}), {machine.memory_gib:g} GiB, {machine.system}, "
        f"Python {machine.python}; brokers, services, agents and clients share them. "
        f"Load before the run: {machine.load_before:g}.",
        highlight=False,
    )


def _row(figure: Figure) -> tuple[str, ...]:
    raw = "" if figure.raw is None else f"{_amount(figure.raw.value, figure.unit)}\n[dim]{figure.raw.what}[/]"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
    return (
        figure.what,
        _amount(figure.value, figure.unit),
        raw,
        ratio,
        "" if figure.target is None else _target(figure.target, figure.unit),
        _MARKS[figure.verdict],
    )


def _target(target: Target, unit: str) -> str:
    limit = f"{target.limit:g} × raw" if target.times_raw else _amount(target.limit, unit)
    return f"{_SIGNS[target.bound]} {limit}"


def _amount(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def _with_verdicts(measurement: Measurement) -> dict[str, object]:
    figures = [
        {**msgspec.structs.asdict(figure), "ratio": figure.ratio, "verdict": figure.verdict}
        for figure in measurement.figures
    ]
    return {"job": measurement.job, "figures": figures, "details": measurement.details}
