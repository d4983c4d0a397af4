"""The server: the options put together, started, served and stopped."""

from hrpc.server.server import Server, new_server

__all__ = ["Server", "new_server"]
