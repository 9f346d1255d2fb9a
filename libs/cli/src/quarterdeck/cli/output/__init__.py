"""Sinks: each shows or keeps a run in one way. What a run is: watch.py and board.py."""
