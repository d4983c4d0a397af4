"""The ACL token, which may stand in a file that others write: Vault's agent, Kubernetes, whoever rotates tokens."""

from __future__ import annotations

import threading
from pathlib import Path

from loguru import logger

from hrpc.errors import OptionError
from hrpc.option import Consul

FOLLOW_INTERVAL = 5.0
"""Seconds between two looks at a token file. A request that is denied looks at once."""

_LONGEST = 4096


class Token:
    """The newest token that could be read; safe to use from several threads."""

    def __init__(self, consul: Consul) -> None:
        """Reads the file, where one is given. Raises `OptionError` when it has no token."""
        self.path = None if consul.token is not None else consul.token_file
        self._lock = threading.Lock()
        self._lost = ""
        if self.path is None:
            self.value = (consul.token or "").strip()
            if not self.value.isprintable():
                raise OptionError(
                    "the Consul token has characters that no token has: check Consul(token=…) or CONFIGS_TOKEN"
                )
            return
        try:
            self.value = _read(self.path)
        except ValueError as error:
            raise OptionError(
                f"the token file {self.path!r} (Consul(token_file=…) or CONSUL_HTTP_TOKEN_FILE) {error}"
            ) from error.__cause__

    def __repr__(self) -> str:
        return f"Token({self.path!r})"

    def refresh(self) -> None:
        """Reads the file again; blocks. What is wrong with it is logged, once, and the last token stays."""
        if self.path is None:
            return
        with self._lock:
            try:
                newest = _read(self.path)
            except ValueError as error:
                if self._lost != str(error):
                    self._lost = str(error)
                    logger.error("Consul: the token file {!r} {}; the last token is kept", self.path, error)
                return
            if self._lost:
                self._lost = ""
                logger.info("Consul: the token file {!r} can be read again", self.path)
            self.value = newest


def _read(path: str) -> str:
    """Raises `ValueError`, which says what is wrong and shows nothing of what stands there."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LONGEST).decode()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without the cause, which would show the bytes.
        raise ValueError("cannot be read: not text") from None
    token = text.strip()
    if not token:
        raise ValueError("is empty: it takes a token, on one line")
    if not token.isprintable():
        raise ValueError("has characters that no token has: it takes a token, on one line")
    return token
