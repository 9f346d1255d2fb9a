"""The oracle: commands that write down that they started, in a file that they can only append to (as Jepsen does).

Owns the scripts, what each must print and answer, and the reading of the file. What the product says of a command is
held against it by `checker`. Nothing here knows the product, but for the name of one environment variable.

A line of the file is `<command id>.<attempt> <pid> <Unix milliseconds>`, one write(2) with O_APPEND: lines of
concurrent processes never mix. Source: write(2), POSIX.1-2017 `O_APPEND`.
"""

import random
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

_MARKER: Final = "QUARTERDECK_COMMAND"
"""`<command id>.<attempt>` in the environment of every process of a command."""


class Kind(StrEnum):
    QUICK = "quick"
    SLEEPER = "sleeper"
    TALKER = "talker"
    """Prints for some seconds: a kill in the middle of its output is likely."""
    BULK = "bulk"
    BINARY = "binary"
    FAILING = "failing"
    FLAKY = "flaky"
    """Fails until its last attempt."""
    ENDLESS = "endless"
    """Runs into its timeout."""


class Start(msgspec.Struct, frozen=True):
    """One line of the oracle: this process was started."""

    command_id: str
    attempt: int
    pid: int
    at_ms: int


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One command line, and the truth about it."""

    kind: Kind
    shell: str
    exit_code: Callable[[int], int]
    """By attempt, when it runs undisturbed."""
    stdout: Callable[[int], bytes]
    """By attempt; what it prints when it runs to its end. Interrupted, it has printed a prefix."""
    ends: bool = True
    """False: only a timeout or a cancel ends it."""


class Oracle:
    """`path`: the append-only file; made when missing. Its directory must be writable for the agents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def starts(self) -> list[Start]:
        """All lines so far. Raises ValueError for a line that no script of ours can have written."""
        return [_parsed(line) for line in self.path.read_text().splitlines()]

    def script(self, kind: Kind, seed: int, *, last_attempt: int = 1) -> Script:
        """`seed` decides sizes and bytes. `last_attempt`: the one in which a flaky script succeeds."""
        dice = random.Random(seed)
        match kind:
            case Kind.QUICK:
                return self._script(kind, f"echo quick {seed}", f"quick {seed}\n".encode())
            case Kind.SLEEPER:
                seconds = dice.uniform(0.5, 4)
                printed = f"awake {seed}\nslept\n".encode()
                return self._script(kind, f"echo awake {seed}; sleep {seconds:.2f}; echo slept", printed)
            case Kind.TALKER:
                lines = dice.randint(20, 60)
                loop = f"i=0; while [ $i -lt {lines} ]; do echo {seed} line $i; i=$((i+1)); sleep 0.05; done"
                return self._script(kind, loop, _lines(f"{seed} line ", 0, lines))
            case Kind.BULK:
                first, count = dice.randint(10**6, 10**7), dice.randint(15_000, 250_000)
                return self._script(
                    kind, f"seq {first} {first + count - 1}", _lines("", first, first + count)
                )
            case Kind.BINARY:
                size_bytes = dice.randint(100_000, 1_000_000)
                return self._script(kind, binary_printer(seed, size_bytes), binary(seed, size_bytes))
            case Kind.FAILING:
                return self._script(kind, f"echo bad {seed}; exit 3", f"bad {seed}\n".encode(), exit_code=3)
            case Kind.FLAKY:
                return Script(
                    kind=kind,
                    shell=self._sworn(
                        f'n=${{{_MARKER}##*.}}; echo attempt $n; [ "$n" -ge {last_attempt} ] || exit 3'
                    ),
                    exit_code=lambda attempt: 0 if attempt >= last_attempt else 3,
                    stdout=lambda attempt: f"attempt {attempt}\n".encode(),
                )
            case Kind.ENDLESS:
                printed = f"endless {seed}\n".encode()
                return self._script(kind, f"echo endless {seed}; sleep 300", printed, ends=False)

    def _script(
        self, kind: Kind, body: str, stdout: bytes, *, exit_code: int = 0, ends: bool = True
    ) -> Script:
        return Script(
            kind=kind,
            shell=self._sworn(body),
            exit_code=lambda _attempt: exit_code,
            stdout=lambda _attempt: stdout,
            ends=ends,
        )

    def _sworn(self, body: str) -> str:
        """First the line, then everything else."""
        return f'echo "${_MARKER} $$ $(date +%s%3N)" >> {shlex.quote(str(self.path))}; {body}'


def binary(seed: int, size_bytes: int) -> bytes:
    """Bytes that no text codec survives, the same on every machine."""
    return random.Random(seed).randbytes(size_bytes)


def binary_printer(seed: int, size_bytes: int, *, piece_bytes: int = 65_536, pause_s: float = 0) -> str:
    """A shell command that prints `binary(seed, size_bytes)`. `piece_bytes`: a multiple of 4, or the draws differ."""
    program = (
        "import random,sys,time\n"
        f"dice,left=random.Random({seed}),{size_bytes}\n"
        "while left:\n"
        f" n=min(left,{piece_bytes}); sys.stdout.buffer.write(dice.randbytes(n)); left-=n\n"
        + (f" sys.stdout.buffer.flush(); time.sleep({pause_s})\n" if pause_s else "")
    )
    return f"{shlex.quote(sys.executable)} -IS -c {shlex.quote(program)}"


def _lines(prefix: str, first: int, stop: int) -> bytes:
    return "".join(f"{prefix}{number}\n" for number in range(first, stop)).encode()


def _parsed(line: str) -> Start:
    marker, pid, at_ms = line.split(" ")
    command_id, _, attempt = marker.rpartition(".")
    return Start(command_id, int(attempt), int(pid), int(at_ms))
