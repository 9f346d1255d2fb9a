"""The data directory: private, and used by one system at a time."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.embedded.layout import DataDir, DataDirLock
from quarterdeck.embedded.server_errors import DataDirInUse, DataDirUnusable


def test_created_directories_are_their_owners_alone(tmp_path: Path) -> None:
    """Tokens and keys lie inside."""
    data_dir = DataDir.at(tmp_path / "new" / "data")

    data_dir.create()

    assert {stat.S_IMODE(path.stat().st_mode) for path in (data_dir.root, data_dir.pki, data_dir.run)} == {
        0o700
    }


def test_second_system_on_the_same_directory_is_refused_by_name(tmp_path: Path) -> None:
    """The message says who holds it and what to do."""
    data_dir = DataDir.at(tmp_path)
    script = (
        "import sys, pathlib\n"
        "from quarterdeck.embedded.layout import DataDir, DataDirLock\n"
        "with DataDirLock(DataDir.at(pathlib.Path(sys.argv[1]))):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        with pytest.raises(DataDirInUse) as caught, DataDirLock(data_dir):
            pass

        assert caught.value.pid == holder.pid
        assert "--data-dir" in caught.value.message
        holder.kill()

    with DataDirLock(data_dir):  # the kernel freed it, although nobody cleaned up
        pass


def test_directory_that_cannot_be_made_is_named_with_the_flag_that_helps(tmp_path: Path) -> None:
    """A file in its place, as an example that holds for root, too."""
    taken = tmp_path / "file"
    taken.touch()

    with pytest.raises(DataDirUnusable, match="File exists; give another --data-dir") as caught:
        DataDir.at(taken).create()

    assert caught.value.root == taken


def test_lock_that_cannot_be_opened_is_named_with_the_flag_that_helps(tmp_path: Path) -> None:
    """The directory is there, and its lock is something else."""
    data_dir = DataDir.at(tmp_path)
    data_dir.lock.mkdir()

    with pytest.raises(DataDirUnusable, match="give another --data-dir"), DataDirLock(data_dir):
        pass
