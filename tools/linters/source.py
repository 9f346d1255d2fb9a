"""What a rule looks at and what it reports. Reads files; knows no rule."""

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

SHIPPED_TOPS = ("libs", "services")
"""Top folders whose `src` ships; tests, benchmarks and tools may break some rules."""


class Finding(NamedTuple):
    """One place that breaks one rule; `line` counts from 1."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class SourceFile:
    """One Python file; `path` is relative to the repository and uses `/`."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    @classmethod
    def read(cls, root: Path, file_path: Path) -> "SourceFile":
        """Reads a file below `root`."""
        return cls(file_path.relative_to(root).as_posix(), file_path.read_text(encoding="utf-8"))

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree. Raises SyntaxError."""
        return ast.parse(self.text, self.path)

    @property
    def ships(self) -> bool:
        """Whether the file is part of a distribution."""
        return self.path.startswith(tuple(f"{top}/" for top in SHIPPED_TOPS)) and "/src/" in self.path

    def is_one_of(self, *endings: str) -> bool:
        """Whether the path ends with one of these, such as `core/store/keys.py`."""
        return self.path.endswith(tuple(f"/{ending}" for ending in endings))

    def string_literals(self) -> Iterator[ast.Constant]:
        """Every string in the code, pieces of f-strings too, but no docstrings or bare string statements."""
        prose = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                yield node

    def finding(self, line: int, rule: str, message: str) -> Finding:
        """A finding in this file."""
        return Finding(self.path, line, rule, message)
