"""The HTTP requests that ``google.api.http`` gives to a method, in the annotation of its proto file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from loguru import logger

from hrpc_tester.templates import Template, TemplateError, parsed

_VERBS = ("get", "put", "post", "delete", "patch")
ALL = "*"
"""As a body: the whole message; as a verb: any."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One of them."""

    verb: str
    """``GET`` and the like, or `ALL`."""
    template: Template
    body: str
    """The field that the body of the request is, `ALL`, or nothing where there is none."""
    response_body: str
    """The field that the body of the answer is; empty for the whole message."""


def of(method: MethodDescriptor) -> tuple[Binding, ...]:
    """Those of a method; one that cannot be served is logged and left out."""
    return tuple(_found(method))


def _found(method: MethodDescriptor) -> Iterator[Binding]:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        try:
            yield _binding(method, one)
        except TemplateError as error:
            logger.warning("hrpc-tester: google.api.http of {}: {}; it is left out", method.full_name, error)


def _binding(method: MethodDescriptor, rule: Any) -> Binding:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise TemplateError("it has no path")
    verb, path = (rule.custom.kind, rule.custom.path) if kind == "custom" else (kind.upper(), getattr(rule, kind))
    template = parsed(path)
    for variable in template.variables:
        field = field_of(method.input_type, variable.name)
        if field is None or field.is_repeated:
            raise TemplateError(f"{path!r}: {method.input_type.full_name} has no single field {variable.name!r}")
    if rule.body not in ("", ALL) and rule.body not in method.input_type.fields_by_name:
        raise TemplateError(f"{path!r}: {method.input_type.full_name} has no field {rule.body!r} for the body")
    if rule.response_body and rule.response_body not in method.output_type.fields_by_name:
        raise TemplateError(f"{path!r}: {method.output_type.full_name} has no field {rule.response_body!r}")
    return Binding(verb, template, rule.body, rule.response_body)


def field_of(message: Descriptor, path: str) -> FieldDescriptor | None:
    """The field of ``name`` or ``name.of.one.inside``, in either spelling; None when there is none."""
    within: Descriptor | None = message
    found: FieldDescriptor | None = None
    for name in path.split("."):
        if within is None or (found is not None and found.is_repeated):
            return None
        found = named(within, name)
        if found is None:
            return None
        within = found.message_type
    return found


def named(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of this name, as the proto file or as JSON spells it."""
    found = message.fields_by_name.get(name)
    return found or next((field for field in message.fields if field.json_name == name), None)
