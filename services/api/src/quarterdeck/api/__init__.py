"""The api service: REST in, commands and batches out."""
