"""What both gateways share: links, presence lease, credit, orders in, reports out.

Knows no carrier: the QUIC and gRPC gateways bring theirs.
"""
