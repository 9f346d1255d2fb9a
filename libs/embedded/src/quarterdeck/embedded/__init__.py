"""The whole system on one machine: nats-server and Redis from wheels, the six services, one supervisor."""
