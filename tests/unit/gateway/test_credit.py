"""How windows are shared when many links stream."""

import pytest

from quarterdeck.contracts.links import Carrier
from quarterdeck.gateway.credit import MIN_WINDOW_BYTES, Credit
from quarterdeck.gateway.settings import GatewaySettings

_MIB = 1024 * 1024


class Streaming:
    """A link that remembers what it was granted."""

    def __init__(self) -> None:
        self.granted: list[int] = []

    def grant(self, window_bytes: int) -> None:
        self.granted.append(window_bytes)


def credit(budget_bytes: int) -> Credit:
    return Credit(
        GatewaySettings(
            gateway_id="g", carrier=Carrier.GRPC, window_bytes=2 * _MIB, output_budget_bytes=budget_bytes
        )
    )


@pytest.mark.parametrize("links", [1, 2, 7, 100, 129, 1000, 10_000])
def test_windows_of_all_streaming_links_fit_into_the_budget(links: int) -> None:
    """S1-20: memory does not grow with the number of agents."""
    share = credit(256 * _MIB).share_bytes(links)

    assert MIN_WINDOW_BYTES <= share <= 2 * _MIB
    assert share * links <= 256 * _MIB or share == MIN_WINDOW_BYTES


def test_few_links_get_the_full_window() -> None:
    only = Streaming()

    credit(256 * _MIB).join(only)

    assert only.granted == [2 * _MIB]


def test_everybody_hears_of_a_smaller_share_and_of_a_larger_one() -> None:
    shared, first, second = credit(2 * _MIB), Streaming(), Streaming()

    shared.join(first)
    shared.join(second)
    shared.leave(second)

    assert first.granted == [2 * _MIB, _MIB, 2 * _MIB]
    assert second.granted == [_MIB]


def test_leaving_without_having_joined_changes_nothing() -> None:
    shared, streaming = credit(2 * _MIB), Streaming()
    shared.join(streaming)

    shared.leave(Streaming())

    assert streaming.granted == [2 * _MIB]
