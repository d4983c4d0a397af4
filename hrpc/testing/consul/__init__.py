"""An embedded Consul agent for development and tests. See `DevConsul`."""

from hrpc.testing.consul.devconsul import DevConsul

__all__ = ["DevConsul"]
