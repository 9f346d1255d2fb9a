"""The environment is read only by entry points: main.py and __main__.py.

Why: settings are built once and handed down, so that a test can start two services with different settings
in one process and a reader finds every knob in a settings.py. A library that looks into os.environ at call
time breaks both, and would let the operator's variables leak into the six services of the embedded system.
"""

import ast
from collections.abc import Iterator

from tools.linters.source import Finding, SourceFile

NAME = "environment-read"

_HOMES = ("main.py", "__main__.py")
_READERS = frozenset({"environ", "environb", "getenv", "getenvb"})


def check(source: SourceFile) -> Iterator[Finding]:
    """Findings for `os.environ`, `os.getenv` and their imports."""
    if not source.ships or source.is_one_of(*_HOMES):
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attr) if attr in _READERS:
                yield source.finding(node.lineno, NAME, f"os.{attr}: take it as a parameter or a setting")
            case ast.ImportFrom(module="os", names=names):
                for alias in names:
                    if alias.name in _READERS:
                        yield source.finding(node.lineno, NAME, f"os.{alias.name}: take it as a setting")
            case _:
                pass
