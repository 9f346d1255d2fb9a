"""The handshake that turns a connection into a channel. One attempt; the caller says how long it may take."""

from quarterdeck.machines.errors import ConnectFailed, ProtocolViolation, WrongPassword
from quarterdeck.machines.spice import link_messages, ticket
from quarterdeck.machines.spice.link_messages import NEEDED, Capability, LinkError, LinkReply
from quarterdeck.machines.spice.messages import ChannelType, MalformedMessage
from quarterdeck.machines.spice.stream import SpiceStream


async def link(stream: SpiceStream, channel_type: ChannelType, password: str, session_id: int = 0) -> None:
    """Makes `stream` a channel with mini headers. `password`: empty where the server asks for none.

    Raises WrongPassword, ConnectFailed for any other refusal, ConnectionEnded, ProtocolViolation.
    """
    if len(password.encode()) > ticket.MAX_PASSWORD_BYTES:
        raise stream.fault(WrongPassword, f"no server takes more than {ticket.MAX_PASSWORD_BYTES} bytes")
    try:
        stream.write(link_messages.request(channel_type, session_id))
        header = await stream.read_exactly(link_messages.HEADER.size)
        reply = link_messages.reply(await stream.read_exactly(link_messages.reply_size_bytes(header)))
        _check_reply(stream, reply)
        stream.write(link_messages.ticket(ticket.seal(password, reply.public_key)))
    except MalformedMessage as error:
        raise stream.fault(ProtocolViolation, error.message) from error
    _check_result(stream, link_messages.result(await stream.read_exactly(link_messages.RESULT.size)))


def _check_reply(stream: SpiceStream, reply: LinkReply) -> None:
    if reply.error == LinkError.NEED_SECURED:
        raise stream.fault(ConnectFailed, "the server wants TLS, which is not spoken here")
    if reply.error != LinkError.OK:
        raise stream.fault(ConnectFailed, f"the server refused: {_name(reply.error)}")
    if Capability.AUTH_SASL in reply.capabilities:
        raise stream.fault(ConnectFailed, "the server wants SASL, which is not spoken here")
    if reply.capabilities & NEEDED != NEEDED:
        raise stream.fault(ConnectFailed, "the server is older than SPICE 0.10")


def _check_result(stream: SpiceStream, error: int) -> None:
    if error == LinkError.PERMISSION_DENIED:
        raise stream.fault(WrongPassword, "wrong, expired, or none is set")
    if error != LinkError.OK:
        raise stream.fault(ConnectFailed, f"the server refused: {_name(error)}")


def _name(error: int) -> str:
    try:
        return LinkError(error).name.lower()
    except ValueError:
        return f"error {error}"
