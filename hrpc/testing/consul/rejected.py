"""The error of a request that the agent turns down."""

from __future__ import annotations


class Rejected(Exception):
    """A request is answered with this status and this text; both are Consul's own where Consul has them."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
