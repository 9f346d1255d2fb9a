"""What logs must never hold."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from quarterdeck.core.logging import Format, configure


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """What `configure` sets is the process's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_logged_exception_shows_its_frames_without_their_variables(
    fmt: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    """S0-27: a traceback of a request holds its bearer token, its payload and its output."""
    configure(fmt, "info")
    authorization = "Bearer " + "qd_canary"
    try:
        raise ValueError(len(authorization))
    except ValueError:
        structlog.get_logger().exception("test.failed")

    logged = capsys.readouterr().err
    assert "test.failed" in logged
    assert "ValueError" in logged
    assert "qd_canary" not in logged
