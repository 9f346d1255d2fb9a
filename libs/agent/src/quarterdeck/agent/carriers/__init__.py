"""Carriers: what a link of this agent can run on.

One module per carrier, each the only one of the agent that imports its library.
"""
