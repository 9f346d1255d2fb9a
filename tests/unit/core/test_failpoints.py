"""Failpoints do nothing until armed, and strike where and as often as asked."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck.core import failpoints
from quarterdeck.core.failpoints import FailpointStruck


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


def test_unarmed_failpoint_does_nothing() -> None:
    failpoints.reach("part.moment")


def test_failpoint_strikes_at_the_wanted_pass() -> None:
    failpoints.arm("part.moment=fail@3")
    failpoints.reach("part.moment")
    failpoints.reach("part.other")
    failpoints.reach("part.moment")
    with pytest.raises(FailpointStruck):
        failpoints.reach("part.moment")


def test_failpoint_with_a_directory_strikes_once_for_all_processes(tmp_path: Path) -> None:
    failpoints.arm("part.moment=fail", tmp_path)
    with pytest.raises(FailpointStruck):
        failpoints.reach("part.moment")
    failpoints.reach("part.moment")
    assert (tmp_path / "part.moment").exists()


def test_kill_ends_the_process_on_the_spot() -> None:
    program = (
        "from quarterdeck.core import failpoints as f; f.arm('a.b=kill'); f.reach('a.b'); print('alive')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (-9, b"")


@pytest.mark.parametrize("orders", ["part.moment", "part.moment=explode", "part.moment=kill@x"])
def test_order_that_is_not_understood_is_refused(orders: str) -> None:
    with pytest.raises(ValueError):
        failpoints.arm(orders)
