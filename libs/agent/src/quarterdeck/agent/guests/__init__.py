"""Guests as targets: virtual machines of this host, reached through their hypervisor. Loaded where they are asked for.

plans.py        what an order for a guest asks for (pure; the only part that every executor loads)
settings.py     where guests are looked for
guests.py       the GuestPort: what the executor sees of all this
directory.py    which guests there are; tells when that changed
connections.py  one shared connection per guest and protocol
execution.py    a command that runs in a guest, with its output; a Run. endings.py: how it ended
calls.py        a command that one request answers: QMP, keys, a line to a channel (exchange.py)
mishaps.py      what becomes of a command when its guest, or the way to it, fails
tidying.py      removes what commands left in guests
absence.py      how long a running command waits for a guest that went away
"""
