"""The bus: publish, consume, read and serve over NATS JetStream, with the failures of the wire turned into types.

Only this package and nothing else of ours imports `nats`. Services get a `Bus` from the runtime.

    connection.py   one connection that is rebuilt for ever; watchdog.py notices when it is dead but looks alive
    publisher.py    windowed publishing over our own reply inbox
    consume.py      durable work: overlapped pulls, ack policies, dead letters
    read.py         gap-free ordered reading of a stream
    serve.py        request/reply responders
    streams.py      creates what contracts/streams.py describes
"""

from quarterdeck.core.bus.bus import Bus
from quarterdeck.core.bus.consumers import AckPolicy, ConsumerShape
from quarterdeck.core.bus.errors import (
    ApiError,
    BusError,
    MessageTooLarge,
    NoResponder,
    RequestFailed,
    RequestTimeout,
    Retry,
    StreamNotFound,
    StreamReplaced,
    WrongLastSequence,
)
from quarterdeck.core.bus.messages import Ack, Incoming, Outgoing, StoredMessage, StreamFacts
from quarterdeck.core.bus.read import Deliver
from quarterdeck.core.bus.serve import Responder
from quarterdeck.core.bus.streams import ensure_streams
from quarterdeck.core.bus.watchdog import Patience

__all__ = [
    "Ack",
    "AckPolicy",
    "ApiError",
    "Bus",
    "BusError",
    "ConsumerShape",
    "Deliver",
    "Incoming",
    "MessageTooLarge",
    "NoResponder",
    "Outgoing",
    "Patience",
    "RequestFailed",
    "RequestTimeout",
    "Responder",
    "Retry",
    "StoredMessage",
    "StreamFacts",
    "StreamNotFound",
    "StreamReplaced",
    "WrongLastSequence",
    "ensure_streams",
]
