"""The two streams of this process and the progress display that may stand below them.

Owns who writes where: remote stdout to our stdout, remote stderr and our own words to our stderr, escaped wherever a
terminal would read them. Every byte that a verb prints goes through here while a progress display is up.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Final, Self

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from quarterdeck.cli.escaping import printable
from quarterdeck.contracts.output import OutputStream

_UNFOLDED: Final = 10_000
"""Wider than any row of ours, in columns."""


class Prefix(msgspec.Struct, frozen=True):
    """What stands before each line of a machine. `style`: a colour of rich."""

    text: str
    style: str = ""


NO_PREFIX = Prefix("")


class Screen:
    """`raw`: bytes reach a terminal as the machine sent them."""

    def __init__(self, out: Console, err: Console, *, raw: bool = False) -> None:
        self.out = out
        self.err = err
        self._raw = raw
        self._live: Live | None = None

    @classmethod
    def of_process(cls, *, raw: bool = False) -> Self:
        """The screen of this process; colours and width are rich's choice (NO_COLOR, COLUMNS)."""
        return cls(
            Console(soft_wrap=True, highlight=False),
            Console(stderr=True, soft_wrap=True, highlight=False),
            raw=raw,
        )

    @property
    def interactive(self) -> bool:
        """Whether a progress display makes sense: a person sees stderr, and no raw bytes would tear it."""
        return self.err.is_terminal and not self._raw

    def live(self, renderable: RenderableType) -> AbstractContextManager[object]:
        """Shows `renderable` below everything else for as long as the context lasts; nothing when not interactive."""
        if not self.interactive:
            return nullcontext()
        self._live = Live(renderable, console=self.err, transient=True, refresh_per_second=8)
        return self._live

    def write(self, stream: OutputStream, content: bytes, prefix: Prefix = NO_PREFIX) -> None:
        """Output of a machine. With a prefix: whole lines only."""
        console = self.out if stream is OutputStream.STDOUT else self.err
        if console.is_terminal and not self._raw:
            # Below a progress display both streams are one terminal: only its console knows where the lines go.
            target = self.err if self._live is not None and self._live.is_started else console
            target.print(_styled(printable(content), prefix), end="")
            return
        binary = _binary(console)
        binary.write(_prefixed(content, prefix.text.encode()))
        binary.flush()

    def note(self, text: str, style: str = "") -> None:
        """Our own words, on stderr."""
        self.err.print(Text(text, style=style))

    def show(self, renderable: RenderableType) -> None:
        """A table or the like that is the verb's result, on stdout."""
        if not self.out.is_terminal and isinstance(renderable, Table):
            # Nobody's width: a program that reads this wants one line per row.
            unfolded = self.out.options.update(max_width=_UNFOLDED)
            self.out.width = max(self.out.width, Measurement.get(self.out, unfolded, renderable).maximum)
        self.out.print(renderable)

    def aside(self, renderable: RenderableType) -> None:
        """A table or the like beside the result, on stderr."""
        self.err.print(renderable)


def _binary(console: Console) -> BinaryIO:
    buffer = getattr(console.file, "buffer", None)
    return buffer if buffer is not None else sys.stdout.buffer


def _prefixed(content: bytes, prefix: bytes) -> bytes:
    if not prefix:
        return content
    lines = content.split(b"\n")
    last = lines.pop()
    return b"".join(prefix + line + b"\n" for line in lines) + (prefix + last if last else b"")


def _styled(text: str, prefix: Prefix) -> Text:
    if not prefix.text:
        return Text(text)
    styled = Text()
    for line in text.splitlines(keepends=True):
        styled.append(prefix.text, style=prefix.style)
        styled.append(line)
    return styled
