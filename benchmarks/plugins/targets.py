"""What the plugins set out to reach."""

from __future__ import annotations

from benchmarks.plugins import ids, inmemory, locks, rabbitmq, sidecar
from benchmarks.targets import Target

TARGETS: tuple[Target, ...] = (
    Target("hrpc-inmemory: a read that finds a value, µs", "inmemory", inmemory.GET, inmemory.MICROS, at_most=0.5),
    Target("hrpc-locks: a lock to write and its end, round trips", "locks", locks.WRITE, locks.TRIPS, at_most=2),
    Target("the same, to read", "locks", locks.READ, locks.TRIPS, at_most=2),
    Target("hrpc-uniqueid: ids in one process, millions a second", "ids", ids.ONE, ids.RATE, at_least=1),
    Target("hrpc-uniqueid: ids of 8 processes that came twice", "ids", ids.ALL, ids.TWICE, at_most=0),
    Target("hrpc-rabbitmq: a consumer, against aio-pika", "rabbitmq", rabbitmq.OURS, rabbitmq.RATIO, at_least=0.9),
    Target("the same, one at a time", "rabbitmq", rabbitmq.OURS_ONE, rabbitmq.RATIO, at_least=0.9),
    Target("hrpc-sidecar: a stream of events, MB/s", "sidecar", sidecar.STREAM, sidecar.RATE, at_least=20),
    Target("hrpc-sidecar: registered again, s", "sidecar", sidecar.BACK, sidecar.SECONDS, at_most=1),
)
