"""SPICE: keys for a guest's keyboard, through the server that QEMU brings for displays.

    spice.py            SpiceProtocol and its builder
    session.py          the channels of one session
    channel.py          one channel, and the connection that is its own; stream.py is the connection
    link.py             how a connection becomes a channel; ticket.py seals the password
    duties.py           what a server expects in return
    messages.py         the messages of a channel; link_messages.py those of its beginning

Source: spice-protocol 0.14.4; what is not built here is planned in docs/spice.md.
"""

from quarterdeck.machines.spice.spice import SpiceProtocol, SpiceProtocolBuilder

__all__ = ["SpiceProtocol", "SpiceProtocolBuilder"]
