"""The errors of configuration values."""

from __future__ import annotations

from hrpc.errors.root import HrpcError


class ConfigError(HrpcError):
    """A configuration value that cannot be used."""


class KeyNotExist(ConfigError):
    """There is no such key in Consul KV."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} does not exist in Consul KV; create it, or check the environment and the prefix")
        self.key = key


class InvalidConfig(ConfigError):
    """A value that is not what was expected.

    `origin` says where the value stands (a KV key, or the call it was given in), `field` which part of it, and `reason`
    what is wrong with it.
    """

    def __init__(self, origin: str, field: str | None, expected: str, found: str) -> None:
        self._tell(origin, field, f"expected {expected}, found {found}")

    @classmethod
    def because(cls, origin: str, field: str | None, reason: str) -> InvalidConfig:
        """One whose reason is told by what has checked the value, such as a class of the user."""
        error = cls.__new__(cls)
        error._tell(origin, field, reason)
        return error

    def _tell(self, origin: str, field: str | None, reason: str) -> None:
        super().__init__(f"{origin}: field {field!r}: {reason}" if field else f"{origin}: {reason}")
        self.origin = origin
        self.field = field
        self.reason = reason
