"""A port that a child binds for itself: race-free, because nobody chooses it beforehand.

Owns the number and the file in which the child tells it. The first start may ask for 0; what it became is asked for at
every later one, so that addresses stay. Called by services.py.
"""

from pathlib import Path


class Listener:
    """`port`: 0 until the child told its choice."""

    def __init__(self, port_file: Path, port: int = 0) -> None:
        self.port = port
        self.port_file = port_file

    def forget_file(self) -> None:
        """Before a start: the file of an earlier life says nothing of this one."""
        self.port_file.unlink(missing_ok=True)

    def learn(self) -> bool:
        """Reads the file; whether the child has told its port."""
        try:
            text = self.port_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        if not text.endswith("\n"):
            return False  # being written
        self.port = int(text)
        return True
