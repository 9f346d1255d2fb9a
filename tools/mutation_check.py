"""The test of the tests: takes one safety away at a time, and demands that the suite notices.

Works on a copy of the checkout (what git tracks, with uncommitted changes) and on the members installed in .venv, with
the copy's sources before them. Prints a table; ends with 1 when a mutation survives, with 2 when the check itself is
broken: a text to replace is gone, the copy is not what Python imports, or a test is red without any mutation.
`just mutations` runs all of mutations.py, `just mutations WORD` those whose name has the word.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.mutations import MUTATIONS, Edit, Mutation

_ROOT: Final = Path(__file__).parent.parent
_FAILED_LINE: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_TESTS_FAILED: Final = 1
"""pytest's exit code for exactly that; others mean that it could not run the tests."""
_TIMEOUT_S: Final = 300


class CheckBroken(Exception):
    """The check says nothing about the suite."""


def mutated(text: str, edit: Edit) -> str:
    """`text` with the edit done. Raises CheckBroken unless what it replaces is there exactly once."""
    found = text.count(edit.old)
    if found != 1:
        raise CheckBroken(f"mutation no longer applies: {found} × in {edit.path}:\n{edit.old}")
    return text.replace(edit.old, edit.new)


class Copy:
    """A checkout of its own, whose sources come before the installed ones."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = subprocess.run(listing, cwd=_ROOT, capture_output=True, check=True).stdout.decode()
        for name in filter(None, names.split("\0")):
            source, target = _ROOT / name, directory / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        sources = [str(path) for path in sorted(directory.glob("*/*/src"))]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}
        self._edits = 0

    def check_imports(self, mutations: Sequence[Mutation]) -> None:
        """Raises CheckBroken when Python finds a mutated module elsewhere."""
        modules = sorted({_module(edit.path) for mutation in mutations for edit in mutation.edits})
        program = (
            "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
        )
        found = self._python("-c", program, *modules)
        for name, file in zip(modules, found.stdout.splitlines(), strict=True):
            print(f"  {name}: {file}")
            if not Path(file).is_relative_to(self._directory):
                raise CheckBroken(f"{name} is imported from {file}, which no mutation reaches")

    def pytest(self, tests: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        options = (
            *("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=hasty", "--timeout=45"),
            # A test that fails leaves much to be collected, and Python 3.11 may fall over that while it parses: then
            # pytest ends without its report. So it parses nothing. Source: python/cpython#106905
            *("--assert=plain", "--tb=line"),
        )
        return self._python("-m", "pytest", *options, *tests)

    def edit(self, edits: Sequence[Edit]) -> dict[Path, str]:
        """Does the edits; answers the files' texts as they were."""
        before: dict[Path, str] = {}
        for edit in edits:
            path = self._directory / edit.path
            text = path.read_text()
            before.setdefault(path, text)
            self._write(path, mutated(text, edit))
        return before

    def restore(self, before: dict[Path, str]) -> None:
        for path, text in before.items():
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._edits += 1
        # Compiled files are recognised by size and whole seconds: every edit gets a second of its own.
        stamp_s = time.time() + self._edits
        os.utime(path, (stamp_s, stamp_s))

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )


def _module(path: str) -> str:
    """The module of a source file; of a script, the package that loads it."""
    inside = Path(path.partition("/src/")[2])
    if inside.suffix != ".py":
        return ".".join(inside.parent.parent.parts)
    parts = inside.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _red(copy: Copy, mutation: Mutation) -> str | None:
    """The test that noticed; None when none did. Raises CheckBroken."""
    before = copy.edit(mutation.edits)
    try:
        run = copy.pytest(mutation.tests)
    except subprocess.TimeoutExpired:
        return "(hung)"
    finally:
        copy.restore(before)
    if run.returncode == 0:
        return None
    found = _FAILED_LINE.search(run.stdout)
    if run.returncode != _TESTS_FAILED or found is None:
        raise CheckBroken(f"{mutation.name}: pytest could not run\n{run.stdout}{run.stderr}")
    return found[1]


def check(mutations: Sequence[Mutation]) -> int:
    """How many survived. Raises CheckBroken."""
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="quarterdeck-mutations-") as directory:
        copy = Copy(Path(directory).resolve())
        print("Mutated sources are those that the tests import:")
        copy.check_imports(mutations)
        healthy = copy.pytest(sorted({test for mutation in mutations for test in mutation.tests}))
        if healthy.returncode != 0:
            raise CheckBroken(f"red without any mutation:\n{healthy.stdout[-8000:]}{healthy.stderr}")
        print("Without a mutation all of their tests are green.\n")
        width = max(len(mutation.name) for mutation in mutations)
        for mutation in mutations:
            noticed_by = _red(copy, mutation)
            survivors += noticed_by is None
            print(f"{mutation.name:{width}}  {noticed_by or 'SURVIVED'}", flush=True)
    print(f"\n{len(mutations) - survivors} of {len(mutations)} mutations were noticed.")
    return survivors


def main(arguments: Sequence[str]) -> int:
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.name for word in arguments)]
    try:
        return 1 if check(chosen) else 0
    except CheckBroken as broken:
        print(f"The check is broken. {broken}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
