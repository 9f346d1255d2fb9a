"""What the console serves."""

from importlib import resources

from quarterdeck.api.operations import DESCRIBED
from quarterdeck.api.routes.console import CONSOLE_FILES, CONSOLE_OPERATIONS
from quarterdeck.web.operations import PUBLIC


def test_every_file_of_the_console_is_served_and_nothing_else() -> None:
    """S4-23"""
    files = {file.name for file in (resources.files("quarterdeck.api") / "console").iterdir()}

    assert set(CONSOLE_FILES.values()) == files


def test_console_files_are_public_and_no_part_of_the_described_api() -> None:
    assert {row.action for row in CONSOLE_OPERATIONS} == {PUBLIC}
    assert not set(CONSOLE_FILES) & {row.path for row in DESCRIBED}


def test_the_page_refers_to_nothing_from_elsewhere() -> None:
    """No third party learns who uses the console, and none can change it."""
    home = resources.files("quarterdeck.api") / "console"
    for name in CONSOLE_FILES.values():
        text = home.joinpath(name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, name
        assert "https:" not in text, name
