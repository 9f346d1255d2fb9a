"""The pytest plugin of Quarterdeck: real NATS and Redis servers, and virtual machines, as layered fixtures.

For tests only; nothing that ships imports it.
"""
