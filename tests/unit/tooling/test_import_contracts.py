"""Every import contract of pyproject.toml holds on the code as it is, and breaks on a forbidden import."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

FORBIDDEN: dict[str, tuple[str, str]] = {
    "Layers": ("services/api/src/quarterdeck/api", "import quarterdeck.dispatcher"),
    "Only the QUIC carriers": ("libs/gateway/src/quarterdeck/gateway", "import aioquic"),
    "Only the gRPC carriers": ("libs/core/src/quarterdeck/core", "import grpc"),
    "Only the two HTTP services": ("libs/embedded/src/quarterdeck/embedded", "from litestar import Litestar"),
    "Only the store": ("services/api/src/quarterdeck/api", "from redis.asyncio import Redis"),
    "Only the bus": ("libs/core/src/quarterdeck/core/store", "import nats"),
    "Nothing that ships": ("libs/cli/src/quarterdeck/cli", "import quarterdeck.testing"),
}
"""How a contract's name begins, the package that gets a bad module, and what that module imports."""


@pytest.fixture
def workspace_copy(tmp_path: Path) -> Path:
    """The members' sources and the configuration, to be broken at will."""
    for top in ("libs", "services"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint_imports(workspace: Path) -> str:
    sources = [str(source) for top in ("libs", "services") for source in (workspace / top).glob("*/src")]
    answer = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout


def test_every_contract_breaks_on_its_forbidden_import(workspace_copy: Path) -> None:
    """S4-32: the parts stay separate. A contract that names a package wrongly would be kept for ever."""
    for number, (package, line) in enumerate(FORBIDDEN.values()):
        bad_module = workspace_copy / package / f"bad_sample_{number}.py"
        bad_module.parent.mkdir(exist_ok=True)
        (bad_module.parent / "__init__.py").touch()
        bad_module.write_text(f"{line}\n", encoding="utf-8")

    answer = _lint_imports(workspace_copy)

    broken = [line for line in answer.splitlines() if " BROKEN" in line]
    for beginning in FORBIDDEN:
        assert any(line.startswith(beginning) for line in broken), answer


def test_every_contract_has_a_forbidden_sample() -> None:
    """A new contract comes with its sample."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [contract["name"] for contract in configuration["tool"]["importlinter"]["contracts"]]

    assert len(names) == len(FORBIDDEN)
    assert all(any(name.startswith(beginning) for beginning in FORBIDDEN) for name in names)
