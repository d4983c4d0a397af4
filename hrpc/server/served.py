"""What a running server tells of itself to that which lives beside its methods and calls them, as a test page does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from hrpc import _runtime
from hrpc.option import Settings
from hrpc.rpc.recorder import Handler

if TYPE_CHECKING:
    from hrpc.tls.files import CertificateFiles


class Served:
    """The server of this event loop: its settings, and while it takes calls its methods and where to call them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.methods: Mapping[str, Handler] = MappingProxyType({})
        """Those that are known, by ``/package.Service/Method``; empty before it serves."""
        self.is_generic = False
        """Whether a generic handler may serve more of them."""
        self.target: str | None = None
        """What a channel without certificates reaches it by; None before it serves, and where nothing of the kind is.

        With ``Settings.own_socket`` it is a Unix socket that only this user may enter, so that neither certificates
        nor other workers stand between; a call by it goes through all that others do.
        """
        self.certificates: CertificateFiles | None = None
        """What its port shows, of a server with TLS."""

    @contextmanager
    def serving(self, methods: Mapping[str, Handler], target: str | None, *, is_generic: bool) -> Iterator[None]:
        """It takes calls, for as long as the context lasts."""
        self.methods, self.target, self.is_generic = methods, target, is_generic
        try:
            yield
        finally:
            self.target = None


slot = _runtime.Slot[Served]("the server itself", None)


def served() -> Served:
    """That of this event loop, from the first step of its start on. Raises `NotRunning`."""
    return slot.get()
