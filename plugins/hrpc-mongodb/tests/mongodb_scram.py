"""The server's side of SCRAM-SHA-256, by which MongoDB's users log in: RFC 5802 and RFC 7677."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode

_ROUNDS = 4096


class LoginFailed(Exception):
    """The user is not known, or the password is another one."""


class Login:
    """One attempt to log in."""

    def __init__(self, users: dict[str, str], first: bytes) -> None:
        """`users` has their passwords, `first` is what the client begins with."""
        bare = first.decode().partition(",,")[2]
        fields = _fields(bare)
        name = fields["n"].replace("=2C", ",").replace("=3D", "=")
        self._password = users.get(name)
        self._salt = os.urandom(28)
        self._nonce = fields["r"] + b64encode(os.urandom(18)).decode()
        self.challenge = f"r={self._nonce},s={b64encode(self._salt).decode()},i={_ROUNDS}"
        self._signed = f"{bare},{self.challenge}"
        self.is_done = False

    def prove(self, final: bytes) -> bytes:
        """What the server answers to the client's proof. Raises `LoginFailed`."""
        text = final.decode()
        fields = _fields(text)
        if self._password is None or fields["r"] != self._nonce:
            raise LoginFailed
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), self._salt, _ROUNDS)
        key = _hmac(salted, b"Client Key")
        signed = f"{self._signed},{text.rpartition(',p=')[0]}".encode()
        proof = bytes(a ^ b for a, b in zip(key, _hmac(hashlib.sha256(key).digest(), signed), strict=True))
        if not hmac.compare_digest(proof, b64decode(fields["p"])):
            raise LoginFailed
        self.is_done = True
        return b"v=" + b64encode(_hmac(_hmac(salted, b"Server Key"), signed))


def _fields(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, "sha256").digest()
