"""The executor: runs commands, owns their processes, pipes and journal, and knows no network.

service.py      the ExecutorPort: messages in, frames out
journal/        what is known of each command, on disk, so that nothing starts twice
recovery.py     what becomes of the commands of an executor that died
spool.py        output on disk: while nobody takes it, and for whoever comes after a crash
outlet.py       what goes out next: reports, then output within the link's window
slots.py        which waiting command starts next
runs.py         what an order becomes: a process (process_run.py), a handler's call (handler_run.py), or guest_port.py:
                a command for a guest, which the package guests executes
"""
