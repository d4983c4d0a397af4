"""The root of all errors, and the errors of options."""

from __future__ import annotations


class HrpcError(Exception):
    """The root of the tree."""


class OptionError(HrpcError, ValueError):
    """An option, or a combination of options, that cannot work."""


class MissingServerName(OptionError):
    """No server name was given."""

    def __init__(self) -> None:
        super().__init__('missing server name: pass hrpc.with_server_name("…") to new_server')


class InvalidPort(OptionError):
    """A port outside 0 to 65535, or outside 1 to 65535 where it is not one of this machine to be bound."""

    def __init__(self, option: str, port: object, lowest: int = 0) -> None:
        free = "" if lowest else ", or 0 for any free port"
        super().__init__(f"invalid port number {port!r}: {option} takes 1 to 65535{free}")
        self.port = port
