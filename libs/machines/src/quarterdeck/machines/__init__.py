"""Virtual machines without an agent in the guest."""
