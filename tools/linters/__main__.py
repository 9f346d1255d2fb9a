"""Runs every house rule over the repository; exits 1 when there are findings. Called by `just lint`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.linters import environment_reads, file_length, key_literals, log_events, subject_literals
from tools.linters.source import Finding, SourceFile

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = (subject_literals, key_literals, environment_reads, file_length, log_events)
_GENERATED_ENDINGS = ("_pb2.py", "_pb2_grpc.py")


def python_files(root: Path) -> Iterator[Path]:
    """Every hand-written Python file of the repository."""
    for top in ("libs", "services", "tests", "tools"):
        for path in sorted((root / top).rglob("*.py")):
            if not path.name.endswith(_GENERATED_ENDINGS):
                yield path


def check_sources(sources: Iterable[SourceFile]) -> Iterator[Finding]:
    """All findings of all rules, file by file."""
    for source in sources:
        for rule in RULES:
            yield from rule.check(source)


def main() -> int:
    """Prints the findings and returns the exit code."""
    findings = list(check_sources(SourceFile.read(ROOT, path) for path in python_files(ROOT)))
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
