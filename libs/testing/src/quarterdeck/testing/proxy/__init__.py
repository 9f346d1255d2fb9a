"""A network that misbehaves on request, between an agent and its gateway: no netem, no iptables, no root.

faults.py   what may go wrong in one direction, and the seeded dice
tcp.py      for gRPC: delay, stalls, one-way silence, cuts, half-open connections
udp.py      for QUIC: delay, loss, duplication, reordering, one-way silence
"""

from quarterdeck.testing.proxy.faults import CALM, Faults
from quarterdeck.testing.proxy.tcp import Side, TcpProxy
from quarterdeck.testing.proxy.udp import UdpProxy

__all__ = ["CALM", "Faults", "Side", "TcpProxy", "UdpProxy"]
