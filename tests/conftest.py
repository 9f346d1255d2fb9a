"""What holds for every test.

End-to-end tests start whole systems, so they are one xdist group, and the chaos tests another: no more than two systems
at a time. Property tests have no deadline for a single example: the machine is shared, and a slow example is no bug.
Every day they try the same examples, so that a change is judged by what it changed; `--hypothesis-profile=long` looks
for new ones, thirty times as hard.
"""

from pathlib import Path

import hypothesis
import pytest

from tests.effort import EVERYDAY_EXAMPLES

_WHOLE_SYSTEM_DIRS = tuple(Path(__file__).parent / name for name in ("e2e", "chaos"))


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


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything that starts whole systems and groups it for `--dist loadgroup`."""
    for item in items:
        for directory in _WHOLE_SYSTEM_DIRS:
            if item.path.is_relative_to(directory):
                item.add_marker(pytest.mark.e2e)
                item.add_marker(pytest.mark.xdist_group(directory.name))
