"""No file is longer than 400 lines; 250 is the aim.

Why: even codebases that we admire have files of more than 2,000 lines, and nobody decided on one of them:
each grew from a tidy 300. A hard stop makes the second concept move out while that is still cheap.
"""

from collections.abc import Iterator

from tools.linters.source import Finding, SourceFile

NAME = "file-length"
MAX_LINES = 400


def check(source: SourceFile) -> Iterator[Finding]:
    """One finding at the first line too many."""
    length = source.text.count("\n")
    if length > MAX_LINES:
        yield source.finding(MAX_LINES + 1, NAME, f"{length} lines; more than {MAX_LINES} hold two concepts")
