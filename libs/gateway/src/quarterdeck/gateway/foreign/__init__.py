"""Agents of other systems, each in its own protocol, as links like any other. See `dialect` for what one needs."""
