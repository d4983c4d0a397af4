"""What a trace tells of a statement: what it does to which table, and its text without the values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from hrpc.abc import RequestSpan, Tracer
from hrpc.database.mysql import errors
from hrpc.database.mysql.settings import MySQLSettings
from hrpc.recipe.servers import Server

_LONGEST = 2000
"""Characters of a text that is told."""

_COMMENT = r"/\*.*?(?:\*/|\Z)|--(?=\s)[^\n]*|\#[^\n]*"
_NAME = r"`[^`]*(?:`|\Z)"
# What begins in the text that was cut off has no end in it.
_STRING = r"'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)" + "|" + r'"(?:[^"\\]|\\.|"")*(?:"|\\?\Z)'
_NUMBER = r"\b(?:0[xX][0-9a-fA-F]+|0b[01]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\b"
_VALUES = re.compile(f"(?P<comment>{_COMMENT})|(?P<name>{_NAME})|{_STRING}|{_NUMBER}", re.DOTALL)
_OPERATION = re.compile(r"[\s(]*([A-Za-z]+)")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE|JOIN)\s+(`?[\w$]+`?(?:\.`?[\w$]+`?)?)", re.IGNORECASE)


class Statements:
    """Begins the spans of the statements of one connection."""

    def __init__(self, tracer: Tracer, settings: MySQLSettings, server: Server, version: str) -> None:
        self._tracer = tracer
        self._place: dict[str, str | int] = {
            "db.system.name": "mariadb" if "mariadb" in version.lower() else "mysql",
            "db.namespace": settings.dbname,
            "server.address": server[0],
            "server.port": server[1],
        }

    def begin(self, sql: str) -> RequestSpan:
        """The span of a statement, as it was before its arguments were filled in."""
        name, attributes = described(sql[:_LONGEST])
        return self._tracer.request(name, {**self._place, **attributes})

    def answer(self, error: BaseException) -> Mapping[str, str | int]:
        """What is told of an error: its number."""
        number = errors.number(error) or (error.__cause__ and errors.number(error.__cause__))
        return {"db.response.status_code": str(number)} if number else {}


@lru_cache(512)
def described(sql: str) -> tuple[str, Mapping[str, str]]:
    """The name of a statement's span, such as ``SELECT orders``, and what is told of it."""
    text = _VALUES.sub(_without_value, sql).strip()
    found = _OPERATION.match(text)
    if found is None:
        return "statement", {"db.query.text": text}
    operation, table = found[1].upper(), _TABLE.search(text)
    summary = operation if table is None else f"{operation} {table[1].replace('`', '')}"
    return summary, {"db.operation.name": operation, "db.query.summary": summary, "db.query.text": text}


def _without_value(found: re.Match[str]) -> str:
    if found["comment"] is not None:
        return " "
    return found["name"] or "?"
