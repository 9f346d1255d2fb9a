"""What the broadcaster decides, without I/O: where a watcher begins, and how what it sees is written.

scopes.py      what can be watched, as filters over the feed
event_ids.py   Last-Event-ID ↔ position in the feed
openings.py    request → where to begin, and what comes before
frames.py      stored messages → SSE or NDJSON
"""
