"""What Consul said last, in a file, so that a service can start while Consul is away."""

from hrpc.consul.snapshot.contents import Origin
from hrpc.consul.snapshot.keeper import Snapshot

__all__ = ["Origin", "Snapshot"]
