"""The contracts every part of Quarterdeck shares: messages, states, subjects, ids, errors, codec.

Imports nothing of ours. Everything else imports this.
"""
