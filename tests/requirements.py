"""Lists the requirement numbers that no test names yet (`just requirements`).

Reads the numbers of docs/requirements.md and the docstrings of all test modules, classes and functions. A
docstring names single numbers (`S0-18`) or ranges (`S4-17..20`). Numbers that the document's last table says are not
built yet are told apart. Exits 1 when a test names an unknown number, or one that is not built.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_DEFINED = re.compile(r"^- \*\*(S\d-\d+)\*\*", re.MULTILINE)
_NOT_BUILT = re.compile(r"^\| (S\d-[^|]*) \|", re.MULTILINE)
_NAMED = re.compile(r"\b(S\d)-(\d+)F?(?:(?:\.\.\.?|…)(\d+))?")


def defined_numbers(document: str) -> list[str]:
    """The numbers of the requirements document, in its order."""
    return _DEFINED.findall(document)


def numbers_not_built(document: str) -> set[str]:
    """Those that the document gives a reason for in its table."""
    return {number for cell in _NOT_BUILT.findall(document) for number in named_numbers(cell)}


def named_numbers(docstring: str) -> Iterator[str]:
    """The numbers that a docstring claims to prove, ranges written out."""
    for source, first, last in _NAMED.findall(docstring):
        for number in range(int(first), int(last or first) + 1):
            yield f"{source}-{number}"


def docstrings_of_tests(module_text: str) -> Iterator[str]:
    """The docstrings of a test module: its own, and those of its tests and test classes."""
    tree = ast.parse(module_text)
    for node in ast.walk(tree):
        match node:
            case ast.Module():
                yield ast.get_docstring(node) or ""
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if node.name.lower().startswith("test"):
                    yield ast.get_docstring(node) or ""
            case _:
                pass


def report(defined: Iterable[str], named: set[str], not_built: Set[str] = frozenset()) -> Iterator[str]:
    """The lines to print: for each source document how far we are, what is missing, and what is not built yet."""
    for source, group in groupby(defined, key=lambda number: number.partition("-")[0]):
        numbers = list(group)
        missing = [number for number in numbers if number not in named | not_built]
        later = [number for number in numbers if number in not_built]
        proved = sum(number in named for number in numbers)
        yield f"{source}: {proved} of {len(numbers)} named by a test"
        if missing:
            yield f"    missing: {' '.join(missing)}"
        if later:
            yield f"    not built yet: {' '.join(later)}"


def main() -> int:
    """Prints the report and returns the exit code."""
    document = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")
    defined = defined_numbers(document)
    not_built = numbers_not_built(document)
    named = {
        number
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for docstring in docstrings_of_tests(path.read_text(encoding="utf-8"))
        for number in named_numbers(docstring)
    }
    for line in report(defined, named, not_built):
        print(line)
    unknown = sorted(named - set(defined))
    if unknown:
        print(f"named by a test but not defined: {' '.join(unknown)}")
    contradicted = sorted(named & not_built)
    if contradicted:
        print(f"named by a test but not built, says the document: {' '.join(contradicted)}")
    return 1 if unknown or contradicted else 0


if __name__ == "__main__":
    sys.exit(main())
