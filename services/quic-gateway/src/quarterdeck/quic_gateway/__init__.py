"""The quic-gateway service: the QUIC carrier under the shared gateway library."""
