"""Paths with variables, as ``google.api.http`` has them.

The grammar is in https://github.com/googleapis/googleapis/blob/master/google/api/http.proto, "Path template syntax"::

    Template = "/" Segments [ Verb ] ;      Segments = Segment { "/" Segment } ;
    Segment  = "*" | "**" | LITERAL | Variable ;
    Variable = "{" FieldPath [ "=" Segments ] "}" ;     Verb = ":" LITERAL ;
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

_VARIABLE = re.compile(r"\{([A-Za-z_][\w.]*)(?:=([^{}]+))?\}", re.ASCII)
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;@%-]+", re.ASCII)
_TOKEN = re.compile(r"\{[^{}]*\}|[^/{}]+|/")
_RESERVED = re.compile(r"%2[fF]")


class TemplateError(ValueError):
    """A path that is none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field that a part of the path gives: `name` may be one of a nested message, such as ``order.id``."""

    name: str
    segments: tuple[str, ...]
    """What it matches: literals, ``*`` and ``**``."""

    @property
    def is_single(self) -> bool:
        """Whether it is exactly one segment of the path, whatever that is."""
        return self.segments == ("*",)


@dataclass(frozen=True, slots=True)
class Template:
    """A path with variables."""

    text: str
    parts: tuple[str | Variable, ...]
    verb: str
    """What stands behind a colon at the end."""
    pattern: re.Pattern[str]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Its variables, in order."""
        return tuple(part for part in self.parts if isinstance(part, Variable))

    @property
    def precedence(self) -> tuple[int, tuple[tuple[int, str], ...]]:
        """Sorts templates so that of several that match a path the one that says most of it comes first."""
        ranks = {"*": 1, "**": 2}
        segments = [one for part in self.parts for one in (part.segments if isinstance(part, Variable) else (part,))]
        return (not self.verb), tuple((ranks.get(one, 0), one) for one in (*segments, "**"))

    def match(self, path: str) -> Mapping[str, str] | None:
        """The values of the variables in a path that is still percent-encoded; None when it does not match."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return {
            variable.name: _decoded(text, variable)
            for variable, text in zip(self.variables, found.groups(), strict=True)
        }


def parsed(text: str) -> Template:
    """The template that is written so. Raises `TemplateError`."""
    if not text.startswith("/"):
        raise TemplateError(f"{text!r} does not begin with a slash")
    body, verb = text, ""
    colon = text.rfind(":")
    if colon > max(text.rfind("/"), text.rfind("}")) or text[colon - 1 : colon] == "}":
        body, verb = text[:colon], text[colon + 1 :]
        if not _LITERAL.fullmatch(verb):
            raise TemplateError(f"{text!r}: {verb!r} is no verb")
    parts = tuple(_parts(body, text))
    pattern = "".join("/" + _of(part) for part in parts) + (re.escape(f":{verb}") if verb else "")
    template = Template(text, parts, verb, re.compile(pattern))
    names = [variable.name for variable in template.variables]
    if len(set(names)) < len(names):
        raise TemplateError(f"{text!r} has a variable twice")
    deep = [one for part in parts for one in (part.segments if isinstance(part, Variable) else (part,))]
    if "**" in deep[:-1]:
        raise TemplateError(f"{text!r} has ** elsewhere than at its end")
    return template


def _parts(body: str, text: str) -> list[str | Variable]:
    tokens = _TOKEN.findall(body)
    if "".join(tokens) != body:
        raise TemplateError(f"{text!r} has a brace without another one")
    if tokens[::2] != ["/"] * len(tokens[::2]) or len(tokens) % 2:
        raise TemplateError(f"{text!r} has to be segments between single slashes")
    return [_part(token, text) for token in tokens[1::2]]


def _part(token: str, text: str) -> str | Variable:
    if not token.startswith("{"):
        return _segment(token, text)
    found = _VARIABLE.fullmatch(token)
    if found is None:
        raise TemplateError(f"{text!r}: {token} is no variable")
    segments = (found[2] or "*").split("/")
    return Variable(found[1], tuple(_segment(one, text) for one in segments))


def _segment(token: str, text: str) -> str:
    if token in ("*", "**") or _LITERAL.fullmatch(token):
        return token
    raise TemplateError(f"{text!r}: {token!r} is no segment of a path")


def _of(part: str | Variable) -> str:
    if isinstance(part, Variable):
        return f"({'/'.join(map(_of, part.segments))})"
    return {"*": "[^/]+", "**": ".*"}.get(part) or re.escape(part)


def _decoded(text: str, variable: Variable) -> str:
    if variable.is_single:
        return unquote(text)
    # A slash that is no separator stays encoded, so that it can be told from those that are.
    return "".join(piece if _RESERVED.fullmatch(piece) else unquote(piece) for piece in re.split(r"(%2[fF])", text))
