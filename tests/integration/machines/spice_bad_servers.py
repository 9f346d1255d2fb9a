"""SPICE servers that misbehave before a session stands, and the error that each must give."""

import struct
from typing import NamedTuple

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    MachineError,
    ProtocolViolation,
    TimedOut,
    WrongPassword,
)
from tests.integration.machines import spice_peer
from tests.integration.machines.spice_peer import Connection, Script

# ---- Before the ticket ----


async def answers_nothing(peer: Connection) -> None:
    await peer.hung_up()


async def hangs_up_at_once(peer: Connection) -> None:
    pass


async def sends_half_a_header(peer: Connection) -> None:
    peer.writer.write(b"REDQ\2\0\0\0")
    await peer.writer.drain()


async def sends_half_a_header_and_waits(peer: Connection) -> None:
    peer.writer.write(b"REDQ\2\0\0\0")
    await peer.hung_up()


async def speaks_http(peer: Connection) -> None:
    peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.hung_up()


async def speaks_another_version(peer: Connection) -> None:
    peer.writer.write(struct.pack("<4sIII", b"REDQ", 3, 0, 186))
    await peer.hung_up()


async def announces_an_endless_reply(peer: Connection) -> None:
    peer.writer.write(struct.pack("<4sIII", b"REDQ", 2, 2, 0xFFFFFFFF))
    await peer.hung_up()


async def announces_a_reply_that_is_too_short(peer: Connection) -> None:
    peer.writer.write(struct.pack("<4sIII", b"REDQ", 2, 2, 0))
    await peer.hung_up()


async def hangs_up_within_its_reply(peer: Connection) -> None:
    peer.writer.write(struct.pack("<4sIII", b"REDQ", 2, 2, 182) + bytes(100))
    await peer.writer.drain()


async def has_capabilities_outside_its_reply(peer: Connection) -> None:
    peer.link_reply(offset=0xFFFFFF00)
    await peer.hung_up()


async def has_a_key_that_is_none(peer: Connection) -> None:
    peer.link_reply(public_key=b"no key at all")
    await peer.hung_up()


async def wants_tls(peer: Connection) -> None:
    peer.link_reply(error=5)
    await peer.hung_up()


async def refuses_for_an_unknown_reason(peer: Connection) -> None:
    peer.link_reply(error=0xABCD)
    await peer.hung_up()


async def wants_sasl(peer: Connection) -> None:
    peer.link_reply(capabilities=0b1101)
    await peer.hung_up()


async def is_too_old_for_mini_headers(peer: Connection) -> None:
    peer.link_reply(capabilities=0b0011)
    await peer.hung_up()


# ---- The ticket ----


async def hangs_up_on_the_ticket(peer: Connection) -> None:
    await peer.link_request()
    peer.link_reply()
    await peer.reader.readexactly(132)


async def refuses_the_ticket(peer: Connection) -> None:
    await peer.link_request()
    peer.link_reply()
    await peer.take_ticket(result=7)


async def has_an_unknown_result(peer: Connection) -> None:
    await peer.link_request()
    peer.link_reply()
    await peer.take_ticket(result=int.from_bytes(b"REDQ", "little"))


# ---- Once it is linked ----


async def says_nothing_once_linked(peer: Connection) -> None:
    await peer.link()
    await peer.hung_up()


async def hangs_up_once_linked(peer: Connection) -> None:
    await peer.link()
    await peer.writer.drain()


async def announces_an_endless_message(peer: Connection) -> None:
    await peer.link()
    peer.writer.write(struct.pack("<HI", spice_peer.MAIN_INIT, 0xFFFFFFFF))
    await peer.hung_up()


async def has_an_init_that_is_too_short(peer: Connection) -> None:
    await peer.link()
    peer.send(spice_peer.MAIN_INIT, b"\1")
    await peer.hung_up()


async def sends_a_ping_without_its_head(peer: Connection) -> None:
    await peer.link()
    peer.send(spice_peer.PING, b"\1")
    await peer.hung_up()


async def lies_about_the_length_of_its_list(peer: Connection) -> None:
    await peer.link()
    peer.send_main_init()
    peer.send(spice_peer.CHANNELS_LIST, struct.pack("<IBB", 1_000_000, 3, 0))
    await peer.hung_up()


async def has_no_inputs(peer: Connection) -> None:
    await peer.link()
    peer.send_main_init()
    peer.send(spice_peer.CHANNELS_LIST, struct.pack("<IBB", 1, spice_peer.MAIN, 0))
    await peer.hung_up()


async def knows_no_such_session(peer: Connection) -> None:
    if await peer.link_request() == spice_peer.INPUTS:
        peer.link_reply(error=8)
        await peer.hung_up()
        return
    peer.link_reply()
    await peer.take_ticket()
    peer.send_main_init()
    peer.send(spice_peer.CHANNELS_LIST, spice_peer.BOTH_CHANNELS)
    await peer.hung_up()


async def never_opens_inputs(peer: Connection) -> None:
    if await peer.link() == spice_peer.MAIN:
        peer.send_main_init()
        peer.send(spice_peer.CHANNELS_LIST, spice_peer.BOTH_CHANNELS)
    await peer.hung_up()


class Case(NamedTuple):
    script: Script
    error: type[MachineError]


CASES = [
    Case(answers_nothing, TimedOut),
    Case(hangs_up_at_once, ConnectionEnded),
    Case(sends_half_a_header, ConnectionEnded),
    Case(sends_half_a_header_and_waits, TimedOut),
    Case(speaks_http, ProtocolViolation),
    Case(speaks_another_version, ProtocolViolation),
    Case(announces_an_endless_reply, ProtocolViolation),
    Case(announces_a_reply_that_is_too_short, ProtocolViolation),
    Case(hangs_up_within_its_reply, ConnectionEnded),
    Case(has_capabilities_outside_its_reply, ProtocolViolation),
    Case(has_a_key_that_is_none, ProtocolViolation),
    Case(wants_tls, ConnectFailed),
    Case(refuses_for_an_unknown_reason, ConnectFailed),
    Case(wants_sasl, ConnectFailed),
    Case(is_too_old_for_mini_headers, ConnectFailed),
    Case(hangs_up_on_the_ticket, ConnectionEnded),
    Case(refuses_the_ticket, WrongPassword),
    Case(has_an_unknown_result, ConnectFailed),
    Case(says_nothing_once_linked, TimedOut),
    Case(hangs_up_once_linked, ConnectionEnded),
    Case(announces_an_endless_message, ProtocolViolation),
    Case(has_an_init_that_is_too_short, ProtocolViolation),
    Case(sends_a_ping_without_its_head, ProtocolViolation),
    Case(lies_about_the_length_of_its_list, ProtocolViolation),
    Case(has_no_inputs, ConnectFailed),
    Case(knows_no_such_session, ConnectFailed),
    Case(never_opens_inputs, TimedOut),
]
