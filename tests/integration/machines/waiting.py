"""How tests wait for a guest, and ask QEMU about it."""

from collections.abc import Awaitable, Callable
from typing import Final

from quarterdeck.machines.qmp import QmpProtocol

PATIENCE_S: Final = 60.0
"""For a guest that is emulated on a busy machine. Nothing may be concluded from how long it took."""


def is_running(qmp: QmpProtocol) -> Callable[[], Awaitable[bool]]:
    """For QgaProtocolBuilder.with_status."""

    async def ask() -> bool:
        return (await qmp.query_status()).running

    return ask
