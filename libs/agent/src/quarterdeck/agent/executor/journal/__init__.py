"""What this agent knows of each command, on disk: the memory that keeps a command from starting twice.

entries.py   a command as the executor knows it: key, phase, reports
records.py   what is written, and how it is told from damage (sans-IO)
log_file.py  the file: appends, group commit, what a full disk does to it
journal.py   phases of commands in, records out; finds everything again after a crash
memory.py    what is remembered of commands that are over, within bounds
"""
