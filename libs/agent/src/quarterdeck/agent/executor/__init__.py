"""The executor: runs commands, owns their processes, pipes and journal, and knows no network.

service.py      the ExecutorPort: messages in, frames out
journal.py      what is known of each command, so that nothing starts twice
outlet.py       what goes out next: reports, then output within the link's window
slots.py        which waiting command starts next
process_run.py  one command as a process; handler_run.py: one command as a Python handler
"""
