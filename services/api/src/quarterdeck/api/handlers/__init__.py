"""From a request's bytes to what the store is to write. Pure: no I/O, no clock of its own, no broker.

decoding.py      bytes → request struct, with the field at fault named
requests.py      what may be asked for
specs.py         options of a request → CommandSpec, every limit checked
targets.py       which machines
commands.py      a single command → NewCommand
batches.py       many targets → NewBatch, in chunks
"""
