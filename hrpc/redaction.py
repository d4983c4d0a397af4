"""Which fields are not shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

ALWAYS = (
    "*password*",
    "*passwd*",
    "*secret*",
    "*token",
    "*apikey",
    "*privatekey",
    "*credential*",
    "authorization",
    "cookie",
    "setcookie",
)
"""Names of fields that are hidden whatever the option says, with ``*`` for any letters."""

REDACTED = "[redacted]"

_LONGEST_REMEMBERED = 64


class Redaction:
    """Hides fields by their names."""

    def __init__(self, names: Iterable[str]) -> None:
        patterns = {translate(_letters(name)) for name in (*ALWAYS, *names)}
        self._pattern = re.compile("|".join(sorted(patterns)))
        self._fields: dict[FieldDescriptor, bool] = {}
        self._remembered = lru_cache(4096)(self._matches)

    def hides(self, name: str) -> bool:
        """Whether the value of a field, or of a map's key, with this name is hidden."""
        # Keys come from callers: what is remembered of them is bounded.
        return self._remembered(name) if len(name) <= _LONGEST_REMEMBERED else self._matches(name)

    def hides_field(self, field: FieldDescriptor) -> bool:
        """Whether a field of a protobuf message is hidden, by its name or by its option ``debug_redact``."""
        hidden = self._fields.get(field)
        if hidden is None:
            hidden = self._fields[field] = self.hides(field.name) or bool(field.GetOptions().debug_redact)
        return hidden

    def _matches(self, name: str) -> bool:
        return self._pattern.match(_letters(name)) is not None


def _letters(name: str) -> str:
    """set_cookie, setCookie and Set-Cookie are one name."""
    return re.sub(r"[^\w*]|_", "", name.casefold())
