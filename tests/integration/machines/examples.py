"""Runs the Python examples of a document as they stand there."""

import ast
import inspect
import io
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


class Example(NamedTuple):
    heading: str
    """What it stands under."""
    code: str


def python_examples(document: Path) -> list[Example]:
    """Every block that is marked as Python, in order."""
    heading, language = "", None
    code: list[str] = []
    found = []
    for line in document.read_text().splitlines():
        if language is not None and line == "```":
            if language == "python":
                found.append(Example(heading, "\n".join(code) + "\n"))
            language, code = None, []
        elif language is not None:
            code.append(line)
        elif line.startswith("```"):
            language = line.removeprefix("```")
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return found


async def run(code: str, names: dict[str, Any]) -> str:
    """What it printed. `names`: what the example may use, and afterwards what it left.

    `await` is allowed, as inside an `async def`.
    """
    printed = io.StringIO()
    names["print"] = partial(print, file=printed)
    outcome = eval(compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(outcome):
        await outcome
    return printed.getvalue()
