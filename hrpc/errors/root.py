"""The root of all errors, and the error of an option."""

from __future__ import annotations


class HrpcError(Exception):
    """The root of the tree."""


class OptionError(HrpcError, ValueError):
    """An option, or a combination of options, that cannot work."""
