"""What logs must never hold."""

import pytest
import structlog

from quarterdeck.core.logging import Format, configure

pytestmark = pytest.mark.usefixtures("logging_restored")


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
