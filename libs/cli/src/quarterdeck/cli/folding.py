"""Many machine names in few characters: `web-1, web-2, web-3, db` → `db,web-[1-3]`.

Owns the notation, which is that of ClusterShell and pdsh. Pure; called wherever groups of machines are shown.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

_NUMBERED: Final = re.compile(r"\A(.*?)(\d+)(\D*)\Z")


def fold(names: Iterable[str]) -> str:
    """Sorted, with runs of numbers folded; a number keeps its leading zeros: `n08, n09, n10` → `n[08-10]`."""
    plain: list[str] = []
    series: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for name in sorted(set(names)):
        match = _NUMBERED.match(name)
        if match is None:
            plain.append(name)
            continue
        head, digits, tail = match.groups()
        padded = len(digits) if digits.startswith("0") else 0
        series[head, tail, padded].append(int(digits))
    series = _join_padded(series)
    folded = [
        f"{head}{_ranges(sorted(numbers), width)}{tail}" for (head, tail, width), numbers in series.items()
    ]
    return ",".join(sorted(plain + folded))


def _join_padded(
    series: dict[tuple[str, str, int], list[int]],
) -> dict[tuple[str, str, int], list[int]]:
    """Numbers that fill the width of a padded series belong to it: `09` and `10`."""
    joined = dict(series)
    for (head, tail, width), numbers in series.items():
        natural = joined.get((head, tail, 0), [])
        if width == 0 or not natural:
            continue
        joined[head, tail, width] = numbers + [n for n in natural if len(str(n)) == width]
        rest = [n for n in natural if len(str(n)) != width]
        if rest:
            joined[head, tail, 0] = rest
        else:
            del joined[head, tail, 0]
    return joined


def _ranges(numbers: Sequence[int], width: int) -> str:
    if len(numbers) == 1:
        return f"{numbers[0]:0{width}d}"
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    parts = (f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}" for a, b in runs)
    return f"[{','.join(parts)}]"
