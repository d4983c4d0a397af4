"""Until when a certificate is valid; read from its bytes, for which the standard library has nothing public."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

_END = "-----END CERTIFICATE-----"
_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17


def expires(pem: str) -> datetime:
    """The end of the validity of the first certificate in a PEM text. Raises ValueError.

    The fields are those of https://www.rfc-editor.org/rfc/rfc5280#section-4.1, in the DER encoding.
    """
    first = pem[pem.find("-----BEGIN CERTIFICATE-----") : pem.find(_END) + len(_END)]
    try:
        certificate = _inner(_first(ssl.PEM_cert_to_DER_cert(first)))
        fields = _elements(_inner(_first(certificate)))
        # The version may be missing, and is told by its tag; then: serial number, signature, issuer, validity.
        validity = fields[4 if fields[0][0] == _EXPLICIT_VERSION else 3]
        kind, text = _elements(validity[1])[1]
        return _moment(kind, text.decode("ascii"))
    except (IndexError, ValueError) as error:
        raise ValueError("not an X.509 certificate") from error


Element = tuple[int, bytes]
"""The tag of an element, and what is in it."""


def _first(data: bytes) -> Element:
    return _elements(data)[0]


def _inner(element: Element) -> bytes:
    return element[1]


def _elements(data: bytes) -> list[Element]:
    found: list[Element] = []
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets])
            at += octets
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _moment(kind: int, text: str) -> datetime:
    if kind == _UTC_TIME:  # two digits of the year: 50 to 99 are those of the last century
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
