"""The figures of S1-22 for one gateway: metrics of core with the carrier's label bound once, not at every message."""

from quarterdeck.contracts.links import Carrier, LinkEnd
from quarterdeck.core import metrics


class LinkMetrics:
    """Counts what happens on all links of one carrier."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.heartbeats = metrics.HEARTBEATS.labels(carrier)
        self.response_s = metrics.LINK_RESPONSE.labels(carrier)
        self.timeouts = metrics.LINK_TIMEOUTS.labels(carrier)
        self.undecodable_frames = metrics.UNDECODABLE_FRAMES.labels(carrier)

    def came(self, dialect: str) -> None:
        metrics.LINKS_CONNECTED.labels(self._carrier, dialect).inc()

    def ended(self, dialect: str, end: LinkEnd, age_s: float) -> None:
        metrics.LINKS_CONNECTED.labels(self._carrier, dialect).dec()
        metrics.LINK_AGE.labels(self._carrier, dialect).observe(age_s)
        metrics.LINK_ENDS.labels(self._carrier, end).inc()
