"""What holds for every test: end-to-end tests share one xdist worker, because each starts a whole system."""

from pathlib import Path

import pytest

_E2E_DIR = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything below tests/e2e and groups it for `--dist loadgroup`."""
    for item in items:
        if item.path.is_relative_to(_E2E_DIR):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("e2e"))
