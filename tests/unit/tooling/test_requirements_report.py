"""The requirements report counts what docstrings name, and nothing else."""

from pathlib import Path

from tests import requirements

MODULE = '''
"""A sample module: S0-1."""

def test_something():
    """Proves S0-3..5 and S1-2."""

def helper():
    """Mentions S0-9, but is no test."""

class TestMore:
    """S4-24…25."""
'''


def test_docstrings_of_tests_are_read_and_ranges_written_out() -> None:
    """Modules, tests and test classes count; other functions do not."""
    named = {
        number
        for docstring in requirements.docstrings_of_tests(MODULE)
        for number in requirements.named_numbers(docstring)
    }

    assert named == {"S0-1", "S0-3", "S0-4", "S0-5", "S1-2", "S4-24", "S4-25"}


def test_report_tells_what_is_missing_by_source() -> None:
    """One line of progress for each source, one with what is missing if anything is."""
    lines = list(requirements.report(["S0-1", "S0-2", "S1-1"], {"S0-2", "S1-1"}))

    assert lines == ["S0: 1 of 2 named by a test", "    missing: S0-1", "S1: 1 of 1 named by a test"]


def test_what_is_not_built_is_told_apart_from_what_is_missing() -> None:
    """The document's table gives numbers and ranges."""
    document = "- **S2-1** a\n\n| lines | why |\n| --- | --- |\n| S2-1..2, S2-4 | later |\n"

    not_built = requirements.numbers_not_built(document)
    lines = list(requirements.report(["S2-1", "S2-2", "S2-3", "S2-4"], set(), not_built))

    assert not_built == {"S2-1", "S2-2", "S2-4"}
    assert lines == [
        "S2: 0 of 4 named by a test",
        "    missing: S2-3",
        "    not built yet: S2-1 S2-2 S2-4",
    ]


def test_requirements_document_numbers_every_source_without_gaps() -> None:
    """41, 29, 26, 16 and 43 requirements of the five source systems."""
    document = Path(requirements.ROOT, "docs/requirements.md").read_text(encoding="utf-8")

    counts = {"S0": 41, "S1": 29, "S2": 26, "S3": 16, "S4": 43}
    expected = [f"{source}-{n}" for source, count in counts.items() for n in range(1, count + 1)]
    assert requirements.defined_numbers(document) == expected
