"""`.ci/run` runs the README's second command and tells how it ended."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _run(directory: Path, readme: str) -> subprocess.CompletedProcess[str]:
    (directory / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", directory / ".ci/run")
    (directory / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run([directory / ".ci/run"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 3])
def test_second_block_decides_the_exit_code(tmp_path: Path, code: int) -> None:
    """Neither the first block nor the closing lines change it."""
    readme = (
        f"```sh\necho first; exit 9\n```\n\n```sh\necho 5 passed\nexit {code}\n```\n\n```sh\nexit 8\n```\n"
    )

    answer = _run(tmp_path, readme)

    assert answer.returncode == code
    assert answer.stdout.endswith("5 passed\n")
    assert "first" not in answer.stdout


def test_readme_without_a_second_block_fails(tmp_path: Path) -> None:
    """Nothing run is not success."""
    answer = _run(tmp_path, "```sh\necho first\n```\n")

    assert answer.returncode == 2
    assert "no second" in answer.stderr
