"""How much output agents may have unacknowledged: one budget for the gateway, shared by the links that stream.

A window is a promise about memory: what an agent sends within it is held here until the bus has it. A few streaming
links get the full window; many get smaller ones, so that the gateway's memory does not grow with their number. Idle
links keep the window they have. Pure but for the callbacks; called by `link_output`.
"""

from typing import Final, Protocol

from quarterdeck.gateway.settings import GatewaySettings

MIN_WINDOW_BYTES: Final = 64 * 1024
"""One chunk: less would stop an agent for good."""


class Creditor(Protocol):
    """A link that streams."""

    def grant(self, window_bytes: int) -> None:
        """From now on this much output may be unacknowledged."""
        ...


class Credit:
    def __init__(self, settings: GatewaySettings) -> None:
        self._window_bytes = settings.window_bytes
        self._budget_bytes = settings.output_budget_bytes
        self._streaming: dict[Creditor, None] = {}
        self._share_bytes = self.share_bytes(1)

    def share_bytes(self, links: int) -> int:
        """The window of each of `links`: a power of two, so that one link more or less seldom changes it for all."""
        fair = self._budget_bytes // max(links, 1)
        power = 1 << max(fair.bit_length() - 1, 0)
        return max(MIN_WINDOW_BYTES, min(self._window_bytes, power))

    def join(self, link: Creditor) -> None:
        """`link` begins to stream."""
        self._streaming[link] = None
        self._share(newcomer=link)

    def leave(self, link: Creditor) -> None:
        """`link` streams no more. Fine to call for one that never did."""
        if self._streaming.pop(link, 0) is None:
            self._share(newcomer=None)

    def _share(self, newcomer: Creditor | None) -> None:
        share_bytes = self.share_bytes(len(self._streaming))
        if share_bytes != self._share_bytes:
            self._share_bytes = share_bytes
            for link in self._streaming:
                link.grant(share_bytes)
        elif newcomer is not None:
            newcomer.grant(share_bytes)
