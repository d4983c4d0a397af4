"""For tests of services: an embedded Consul agent; real servers are in `hrpc.testing.servers`."""

from hrpc.testing.consul import DevConsul

__all__ = ["DevConsul"]
