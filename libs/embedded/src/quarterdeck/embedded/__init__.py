"""The whole system on one machine: real nats-server and Redis from wheels, the six services, one supervisor."""
