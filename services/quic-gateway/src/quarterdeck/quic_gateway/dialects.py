"""Which protocols this gateway speaks besides our own, by the name that the QUIC handshake agrees on."""

from quarterdeck.core.runtime import ServiceContext
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.quicflow import QuicflowDialect
from quarterdeck.gateway.foreign.quicflow_reception import QuicflowReception
from quarterdeck.gateway.gateway import Gateway
from quarterdeck.gateway.link import Reception
from quarterdeck.wire import quicflow


def receptions(ctx: ServiceContext, gateway: Gateway, *, admit: bool) -> dict[str, Reception]:
    """By ALPN. `admit`: enrol strangers at first contact."""
    admission = Admission(ctx.registry, ctx.clock, gateway.events, admit=admit)
    dialect = QuicflowDialect(admission, ctx.clock)
    return {quicflow.ALPN: QuicflowReception(dialect, ctx.registry, gateway.links)}
