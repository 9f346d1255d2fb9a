"""The grpc-gateway service: the gRPC carrier under the shared gateway library."""
