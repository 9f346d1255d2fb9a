"""One verb, one file. Each is imported only when it is called, so that `qd --help` is quick."""
