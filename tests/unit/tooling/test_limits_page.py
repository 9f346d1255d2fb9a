"""docs/limits.md says what the tests check."""

import re
from pathlib import Path
from typing import Final

from tests.chaos.back_pressure.bounds import BOUND_MIB

_ROOT: Final = Path(__file__).parents[3]
_PAGE: Final = (_ROOT / "docs" / "limits.md").read_text()


def test_the_page_states_the_bounds_that_are_checked() -> None:
    """I9: a stated bound, and the same one everywhere."""
    stated = {name: int(mib) for name, mib in re.findall(r"^\| ([a-z-]+) \| (\d+) \|", _PAGE, re.MULTILINE)}
    assert stated == dict(BOUND_MIB)


def test_files_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", _PAGE))
    sources = [
        path.as_posix() for path in (*_ROOT.glob("libs/*/src/**/*.py"), *_ROOT.glob("services/*/src/**/*.py"))
    ]
    missing = {
        name
        for name in named
        if not (_ROOT / name).exists()
        and not any(source.endswith(f"/quarterdeck/{name}") for source in sources)
    }
    assert missing == set()
