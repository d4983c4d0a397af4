"""The error of this plugin."""

from __future__ import annotations

from hrpc import HrpcError


class TesterRefused(HrpcError):
    """The tester does not start here: it would open what others have closed."""
