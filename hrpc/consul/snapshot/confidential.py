"""What stays out of a snapshot unless it was asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from hrpc.consul.snapshot.contents import Contents
from hrpc.redaction import Redaction

_FOLDERS = ("databases", "messagequeues")
"""Below the prefix: settings to connect with, which hold passwords."""

_IN_URL = re.compile(rb"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)

_redaction = Redaction(())


def without_secrets(contents: Contents) -> Contents:
    """The same without the keys that may hold secrets, which it then names."""
    secret = {key for key, stored in contents.keys.items() if may_be_secret(contents.origin.prefix, key, stored.value)}
    keys = {key: stored for key, stored in contents.keys.items() if key not in secret}
    return replace(contents, keys=keys, left_out=contents.left_out | secret)


def may_be_secret(prefix: str, key: str, value: bytes | None) -> bool:
    """Whether a key holds settings of databases, is called as secrets are, or has something in it that is."""
    path = key.removeprefix(f"{prefix}/").split("/")
    if path[0] in _FOLDERS or any(map(_redaction.hides, path)):
        return True
    if value is None:
        return False
    if _IN_URL.search(value) or b"PRIVATE KEY-----" in value:
        return True
    if not value.lstrip().startswith((b"{", b"[")):
        return False
    try:
        return _names_secrets(json.loads(value))
    except (ValueError, RecursionError):
        return False


def _names_secrets(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_redaction.hides(name) or _names_secrets(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(_names_secrets, value))
