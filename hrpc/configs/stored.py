"""Reads settings of hrpc's own from the store, before anything follows them."""

from __future__ import annotations

import json

from hrpc.abc import KeyValue, StoredSettings
from hrpc.errors import InvalidConfig, KeyNotExist


async def read_object(store: KeyValue, key: str) -> StoredSettings:
    """A JSON object from the store. Raises `KeyNotExist`, `InvalidConfig` or the store's error."""
    text = await store.read(key)
    if text is None:
        raise KeyNotExist(key)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InvalidConfig(f"key {key!r}", None, "a JSON object", f"what is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InvalidConfig(f"key {key!r}", None, "a JSON object", f"a JSON {type(values).__name__}")
    return StoredSettings(key, values)
