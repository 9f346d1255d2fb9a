"""The native agent protocol on the wire: generated protobuf, link framing, order envelopes.

Shared by agents and gateways; knows no carrier and does no I/O.
"""
