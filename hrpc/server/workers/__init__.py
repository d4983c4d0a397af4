"""Several processes that serve on one port: see docs/workers.md.

The *master* is the process that was started: it has the signals, the registration, the probes and the metrics, and it
serves no call. The *workers* serve. Between them stands the *nursery*, a process without threads and without an event
loop, because only such a one can be forked safely, also long after the start.
"""
