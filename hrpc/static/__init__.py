"""Services that are listed by hand, for development and tests: discovery without a registry."""

from hrpc.static.discovery import Preferred, StaticDiscovery, opened

__all__ = ["Preferred", "StaticDiscovery", "opened"]
