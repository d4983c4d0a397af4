"""The expressions of ``?filter``: https://developer.hashicorp.com/consul/api-docs/features/filtering.

::

    or         = and { "or" and }
    and        = not { "and" not }
    not        = "not" not | "(" or ")" | match
    match      = selector ("==" | "!=" | ["not"] "contains" | ["not"] "matches") value
               | value ["not"] "in" selector
               | selector "is" ["not"] "empty"

An expression that is not of this kind, or that names a field that is not there, is refused and never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hrpc.testing.consul.filter_fields import Kind
from hrpc.testing.consul.filter_match import compile_match
from hrpc.testing.consul.rejected import Rejected

Predicate = Callable[[Any], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<sign>==|!=|\(|\))
      | (?P<quoted>"[^"]*"|`[^`]*`)
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<word>[a-zA-Z][a-zA-Z0-9_/]*(?:\.[a-zA-Z][a-zA-Z0-9_/]*|\[(?:"[^"]*"|`[^`]*`)\])*)
    )""",
    re.VERBOSE,
)


def compile_filter(expression: str, fields: Mapping[str, Kind]) -> Predicate:
    """A function that says whether an answer's item matches. Raises `Rejected`, with status 500 as Consul 1.8.7."""
    if not expression.strip():
        return lambda _item: True
    return _Parser(expression, fields).parse()


class _Parser:
    def __init__(self, expression: str, fields: Mapping[str, Kind]) -> None:
        self._fields = fields
        self._tokens = _tokens(expression)
        self._at = 0

    def parse(self) -> Predicate:
        predicate = self._either()
        if self._peek() != ("end", ""):
            raise _invalid(f"unexpected {self._peek()[1]!r}")
        return predicate

    def _either(self) -> Predicate:
        parts = [self._all()]
        while self._took("or"):
            parts.append(self._all())
        return lambda item: any(part(item) for part in parts)

    def _all(self) -> Predicate:
        parts = [self._negated()]
        while self._took("and"):
            parts.append(self._negated())
        return lambda item: all(part(item) for part in parts)

    def _negated(self) -> Predicate:
        if self._took("not"):
            inner = self._negated()
            return lambda item: not inner(item)
        if self._took("("):
            grouped = self._either()
            self._expect(")")
            return grouped
        return self._match()

    def _match(self) -> Predicate:
        kind, first = self._next()
        if kind not in ("word", "quoted", "number"):
            raise _invalid(f"expected a field or a value, found {first or 'the end'!r}")
        if self._took("is"):
            operator = "is not empty" if self._took("not") else "is empty"
            self._expect("empty")
            return self._compiled(kind, first, operator, "")
        if self._took("==") or self._took("!="):
            return self._compiled(kind, first, self._tokens[self._at - 1][1], self._value())
        negation = "not " if self._took("not") else ""
        if self._took("in"):
            return self._compiled(*self._next(), f"{negation}in", _unquoted(first))
        operators = {"contains": "in", "matches": "matches"}
        for word, operator in operators.items():
            if self._took(word):
                return self._compiled(kind, first, negation + operator, self._value())
        raise _invalid(f"expected an operator after {first!r}, found {self._peek()[1] or 'the end'!r}")

    def _compiled(self, kind: str, selector: str, operator: str, value: str) -> Predicate:
        if kind != "word":
            raise _invalid("Invalid selector")
        try:
            return compile_match(selector, operator, value, self._fields)
        except ValueError as error:
            raise _invalid(str(error)) from error

    def _value(self) -> str:
        kind, text = self._next()
        if kind not in ("word", "quoted", "number"):
            raise _invalid(f"expected a value, found {text or 'the end'!r}")
        return _unquoted(text)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _took(self, text: str) -> bool:
        kind, found = self._peek()
        if found != text or kind == "quoted":
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._took(text):
            raise _invalid(f"expected {text!r}, found {self._peek()[1] or 'the end'!r}")


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, at, text = [], 0, expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _invalid(f"no match found at {text[at:]!r}")
        assert match.lastgroup
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return [*tokens, ("end", "")]


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ('"', "`") else text


def _invalid(reason: str) -> Rejected:
    return Rejected(500, f"Failed to create boolean expression evaluator: {reason}")
