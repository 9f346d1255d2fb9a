"""The executor: runs commands, owns their processes, pipes and journal, and knows no network.

service.py      the ExecutorPort: messages in, frames out
journal/        what is known of each command, on disk, so that nothing starts twice
recovery.py     what becomes of the commands of an executor that died
spool.py        output on disk: while nobody takes it, and for whoever comes after a crash
outlet.py       what goes out next: reports, then output within the link's window
slots.py        which waiting command starts next
process_run.py  one command as a process; handler_run.py: one command as a Python handler
"""
