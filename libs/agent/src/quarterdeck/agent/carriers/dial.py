"""Opens the connection that a server address asks for. Imports a carrier's library only when it is used."""

from quarterdeck.agent.ports import Connection
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.links import Carrier


class Dialer:
    """Connects to gateways that present a certificate of `ca_pem`."""

    def __init__(self, ca_pem: bytes) -> None:
        self._ca_pem = ca_pem

    async def __call__(self, address: ServerAddress) -> Connection:
        """A connection that is up, TLS verified. Raises ConnectionLost when it does not come up in time."""
        if address.carrier is Carrier.QUIC:
            from quarterdeck.agent.carriers.quic import native

            return await native.connect(address, self._ca_pem)
        from quarterdeck.agent.carriers import grpc

        return await grpc.connect(address, self._ca_pem)
