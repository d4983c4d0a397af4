"""Unique ids: 63 bits that grow with time, made without asking anybody.

::

    from hrpc import uniqueid

    uniqueid.next_id()                  # 832559142953734144
    uniqueid.parts(832559142953734144)  # Parts(time=datetime(2026, …), node=7, sequence=0)

The layout is that of the Go framework: milliseconds since August 2020 in 41 bits, the node in 10, a number in 12. So a
node makes up to 4,096 ids in a millisecond, and none twice, as long as no other one has its node id. That is

- what `hrpc.with_node_id` says, of which each worker takes one of its own,
- or what the plugin hrpc-uniqueid leases in Consul, for services of several instances,
- else derived from the name of the machine; then processes of one user never have the same, but two machines may.

Ids are made in any thread. In one process, the clock may be set back or ahead, and ids still grow. When a clock was set
back while a service was restarted, only a lease knows up to which time ids were made before.
"""

from __future__ import annotations

from hrpc import _runtime
from hrpc.uniqueid.generator import Generator, Grant, Parts, parts
from hrpc.uniqueid.nodes import own

__all__ = ["Generator", "Grant", "Parts", "get", "next_id", "next_ids", "parts"]

_given = _runtime.process_ids.given


def next_id() -> int:
    """A new id. When this millisecond has none left it waits for the next one. Raises `UniqueIdError`."""
    generator: Generator = _given[-1] if _given else own()
    return generator.next_id()


def next_ids(count: int) -> list[int]:
    """So many new ids, ascending; 4,096 take about a millisecond. Raises `UniqueIdError`."""
    return get().next_ids(count)


def get() -> Generator:
    """What makes the ids of this process: that of the server that was started last, else its own.

    After the end of a server, a node id that was chosen is still this process', and one that was leased makes no ids.
    """
    generator: Generator = _given[-1] if _given else own()
    return generator
