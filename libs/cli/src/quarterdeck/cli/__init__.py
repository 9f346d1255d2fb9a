"""The `quarterdeck` command line (alias `qd`): one verb, one file."""
