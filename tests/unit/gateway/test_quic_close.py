"""With what words the QUIC gateway closes a quicflow client's connection."""

import pytest

from quarterdeck.contracts.links import LinkEnd
from quarterdeck.quic_gateway.handlers import CloseWords, quicflow_close_words


def test_silence_is_a_heartbeat_timeout_in_order() -> None:
    """The words of the field: code 0."""
    assert quicflow_close_words(LinkEnd.SILENT) == CloseWords(0, "heartbeat timeout")


@pytest.mark.parametrize(
    "reason",
    [LinkEnd.PROTOCOL, LinkEnd.UNAUTHENTICATED, LinkEnd.REVOKED, LinkEnd.UNDECODABLE, LinkEnd.OVERFLOW],
)
def test_whoever_broke_a_rule_is_refused(reason: LinkEnd) -> None:
    assert quicflow_close_words(reason) == CloseWords(1, reason)


@pytest.mark.parametrize("reason", [LinkEnd.DRAINING, LinkEnd.CLOSED, LinkEnd.REPLACED, "unavailable"])
def test_whoever_may_come_back_is_told_no_fault(reason: str) -> None:
    assert quicflow_close_words(reason) == CloseWords(0, reason)
