"""The wire that a command took, as it is recorded and as it is read again."""

import pytest

from quarterdeck.contracts.links import Carrier, LinkRecord, Via


@pytest.mark.parametrize(
    ("carrier", "dialect", "text"),
    [
        (Carrier.QUIC, "native", "quic"),
        (Carrier.GRPC, "native", "grpc"),
        (Carrier.GRPC, "agent_service", "grpc/agent_service"),
        (Carrier.QUIC, "quicflow", "quic/quicflow"),
    ],
)
def test_wire_of_a_link_is_recorded_as_one_word_per_part(carrier: Carrier, dialect: str, text: str) -> None:
    link = LinkRecord(
        tenant="acme", agent_id="a1", gateway_id="g1", carrier=carrier, dialect=dialect, since_ms=1
    )

    assert str(link.via) == text
    assert Via.parse(text) == Via(carrier, dialect)
