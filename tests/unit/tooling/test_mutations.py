"""The mutations still apply, so that `just mutations` can be believed when somebody runs it."""

from pathlib import Path

import pytest

from tools.mutation_check import CheckBroken, mutated
from tools.mutations import MUTATIONS, Edit, Mutation

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_applies_and_names_tests_that_exist(mutation: Mutation) -> None:
    for edit in mutation.edits:
        text = (_ROOT / edit.path).read_text()
        assert mutated(text, edit) != text
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (_ROOT / file).read_text()


@pytest.mark.parametrize("text", ["nothing of it", "fsync() and fsync()"])
def test_text_that_is_not_there_exactly_once_is_an_error(text: str) -> None:
    with pytest.raises(CheckBroken):
        mutated(text, Edit("x.py", "fsync()", ""))
