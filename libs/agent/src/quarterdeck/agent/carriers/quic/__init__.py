"""The QUIC carrier: the only modules of the agent that import aioquic.

handshake.py    a connection, whatever is spoken on it
native.py       our own protocol: one stream
backbone.py     quicflow: a stream per heartbeat and command
"""
