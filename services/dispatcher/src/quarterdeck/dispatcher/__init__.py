"""The dispatcher service: resolves agent to link to gateway and hands orders over, by lane and deadline."""
