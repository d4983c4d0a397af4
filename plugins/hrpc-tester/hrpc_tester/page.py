"""The page to try methods from a browser: one file, which loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from hrpc_tester import examples
from hrpc_tester.kinds import entry, is_null, type_name
from hrpc_tester.methods import Method

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Page:
    """The page of one server, with the headers that keep a browser from doing anything else with it."""

    def __init__(self, name: str, environment: str, methods: Collection[Method]) -> None:
        data = {"name": name, "environment": environment, "services": list(_services(methods))}
        text = resources.files("hrpc_tester").joinpath("page.html").read_text("utf-8")
        # https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
        inside = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
        self.body = text.replace("@title@", escape(name), 1).replace("@data@", inside, 1).encode()
        self.headers: Mapping[str, str] = {
            "Content-Security-Policy": _policy(text),
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
        }


def _policy(text: str) -> str:
    """https://www.w3.org/TR/CSP3/: what is in the file, by its hash, and requests to where it came from."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        hashes[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _services(methods: Collection[Method]) -> Iterable[dict[str, Any]]:
    ordered = sorted(methods, key=lambda method: (method.is_of_the_server, method.service))
    for service in dict.fromkeys(method.service for method in ordered):
        yield {"name": service, "methods": [_method(method) for method in ordered if method.service == service]}


def _method(method: Method) -> dict[str, Any]:
    described = method.descriptor
    kind = {
        (False, False): "unary",
        (False, True): "server_stream",
        (True, False): "client_stream",
        (True, True): "both_streams",
    }
    return {
        "path": method.path,
        "name": described.name,
        "kind": kind[described.client_streaming, described.server_streaming],
        "callable": method.is_callable,
        "deprecated": method.is_deprecated,
        "request": described.input_type.full_name,
        "response": described.output_type.full_name,
        "example": examples.of(described.input_type),
        "fields": [
            {"name": field.json_name, "type": type_name(field), "note": _note(field)}
            for field in described.input_type.fields
        ],
        "http": [f"{binding.verb} {binding.template.text}" for binding in method.bindings],
    }


def _note(field: FieldDescriptor) -> str:
    notes = []
    oneof = field.containing_oneof
    if oneof is not None and oneof.name != f"_{field.name}":
        notes.append(f"one of {oneof.name}")
    elif field.has_presence and field.message_type is None:
        notes.append("optional")
    pair = entry(field)
    enum = (field if pair is None else pair.value).enum_type
    if is_null(field):
        notes.append("null")
    elif enum is not None:
        notes.append(", ".join(value.name for value in enum.values))
    if field.GetOptions().deprecated:
        notes.append("deprecated")
    return "; ".join(notes)
