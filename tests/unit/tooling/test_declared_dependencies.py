"""Every member declares what it imports, ours and third-party: a member installed alone must work."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = sorted(
    path.parent for top in ("libs", "services") for path in (ROOT / top).glob("*/pyproject.toml")
)

_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _declared(member: Path) -> set[str]:
    """The member's own distribution and those it depends on, extras included, by canonical name."""
    project = tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = chain.from_iterable(project.get("optional-dependencies", {}).values())
    names = (_NAME.match(requirement) for requirement in [project["name"], *project["dependencies"], *extras])
    return {_canonical(name[0]) for name in names if name}


def _imported_modules(member: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted((member / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    yield from ((path, alias.name) for alias in names)
                case ast.ImportFrom(module=str(module), names=names):
                    # `from google import protobuf` and `from quarterdeck import core` name a package of a namespace.
                    whole = "." not in module and module in {"google", "quarterdeck", "opentelemetry"}
                    yield from ((path, f"{module}.{alias.name}" if whole else module) for alias in names)
                case _:
                    pass


def _owners(module: str, top_level: dict[str, list[str]]) -> set[str]:
    """The distributions that could have brought `module`; empty for the standard library."""
    top, *rest = module.split(".")
    if top in sys.stdlib_module_names:
        return set()
    if top == "quarterdeck":
        return {_canonical(f"quarterdeck-{rest[0]}")}
    if top in {"libvirt", "libvirt_qemu"}:
        return {"libvirt-python"}  # an extra, and so not installed here
    if top == "google":
        return {"protobuf"}
    if top == "opentelemetry":
        # The SDK brings the API; the exporter is a distribution of its own.
        return {"opentelemetry-exporter-otlp-proto-http" if rest[:1] == ["exporter"] else "opentelemetry-sdk"}
    return {_canonical(name) for name in top_level.get(top, [top])}


@pytest.fixture(scope="session")
def top_level() -> dict[str, list[str]]:
    """Top-level import name to the distributions that bring it."""
    return dict(metadata.packages_distributions())


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_member_declares_what_it_imports(member: Path, top_level: dict[str, list[str]]) -> None:
    """The shared environment hides a missing dependency until somebody installs one member."""
    declared = _declared(member)

    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path, module in _imported_modules(member)
        if (owners := _owners(module, top_level)) and not owners & declared
    }

    assert undeclared == set()
