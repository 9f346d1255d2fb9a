"""The vocabulary that every part of Quarterdeck shares: ids, states, messages, events, subjects, errors.

Imports nothing of ours and talks to nothing. Everything here is a value: frozen, keyword-only, and growing only by
optional fields (docs/adr/0003-contracts-only-grow.md).
"""
