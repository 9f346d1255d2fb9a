"""One embedded system with four agents for all tests of the verbs; a start takes seconds, and so does a process."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from quarterdeck.cli import main
from quarterdeck.testing.deck import Deck
from quarterdeck.testing.session_loop import run_in_new_loop


class Done(NamedTuple):
    """What a verb answered and printed."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def said(self) -> str:
        return self.err.decode()


Qd = Callable[..., Done]


@pytest.fixture(scope="session")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deck]:
    """agent-1 and agent-3 over QUIC, agent-2 and agent-4 over gRPC."""
    deck = Deck(tmp_path_factory.mktemp("deck") / "data", "--agents", "4")
    run_in_new_loop(deck.start())
    yield deck
    run_in_new_loop(deck.stop())


@pytest.fixture
def qd(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> Qd:
    """`qd("run", …, expect=0)` against the shared system, in this process."""
    monkeypatch.setenv("QD_DATA_DIR", str(deck.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str, expect: int | None = 0) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.call(list(arguments))
        done = Done(code, *(pipe.detach().getvalue() for pipe in (out, err)))
        assert expect is None or code == expect, f"qd {' '.join(arguments)} ended with {code}: {done}"
        return done

    return run
