"""A limit on calls at once."""

from __future__ import annotations


class Places:
    """The places of a limit; a call takes one when it begins and gives it back when it ends."""

    __slots__ = ("at_most", "scope", "taken")

    def __init__(self, at_most: int, scope: str = "") -> None:
        """`scope` is the service or the method that it limits; empty for the server."""
        self.at_most = at_most
        self.scope = scope
        self.taken = 0
