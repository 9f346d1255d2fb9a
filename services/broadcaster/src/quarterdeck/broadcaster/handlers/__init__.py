"""What the broadcaster decides, without I/O: where a watcher begins, and how what it sees is written.

scopes.py      what can be watched, as filters over the feed
event_ids.py   Last-Event-ID ↔ position in the feed
openings.py    request → where to begin, and what comes before
frames.py      stored messages → SSE or NDJSON
socket_messages.py   stored messages and views → `{type, payload}` in seed 4's words
socket_requests.py   what a client may ask for over a WebSocket
"""
