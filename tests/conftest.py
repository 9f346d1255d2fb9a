"""What holds for every test.

End-to-end tests start whole systems, so they stay on one xdist worker, and the chaos tests on another: no more than two
systems at a time. Tests of a booted guest stay with the former, which have one too.

Property tests have no deadline for a single example: the machine is shared, and a slow example is no bug. Every day
they try the same examples, so that a change is judged by what it changed; `--hypothesis-profile=long` looks for new
ones, thirty times as hard.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from tests.effort import EVERYDAY_EXAMPLES

# Before anybody imports gRPC: tests start programs, and its fork handlers abort a child now and then before its exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_TESTS = Path(__file__).parent
_WHOLE_SYSTEMS = ("e2e", "chaos")
_BOOTED_GUEST = "tests/integration/machines/test_booted_guest"


def pytest_configure() -> None:
    """Chooses the settings of every property test."""
    hypothesis.settings.register_profile(
        "quarterdeck", deadline=None, print_blob=True, derandomize=True, max_examples=EVERYDAY_EXAMPLES
    )
    hypothesis.settings.register_profile(
        "long", deadline=None, print_blob=True, max_examples=30 * EVERYDAY_EXAMPLES
    )
    hypothesis.settings.register_profile(
        "hasty",  # for whoever only asks whether an example fails, not which is the smallest
        parent=hypothesis.settings.get_profile("quarterdeck"),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("quarterdeck")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """For tests that call `configure`: what it sets is the process's, and would outlive the test's stderr."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything that starts whole systems."""
    for item in items:
        if any(item.path.is_relative_to(_TESTS / name) for name in _WHOLE_SYSTEMS):
            item.add_marker(pytest.mark.e2e)


class _OneWorkerPerSystem(LoadScopeScheduling):
    """The tests of a directory that starts whole systems stay on one worker; all others go where there is room.

    A guest lives as long as its worker, and an idle one still costs CPU time: all that boot one share the e2e worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_BOOTED_GUEST):
            return "e2e"
        directory = nodeid.removeprefix("tests/").partition("/")[0]
        return directory if directory in _WHOLE_SYSTEMS else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Instead of xdist_group, whose marks xdist 3.8 cannot hand to its scheduler under pytest 9.2."""
    return _OneWorkerPerSystem(config, log)
