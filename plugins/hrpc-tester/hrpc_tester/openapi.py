"""The OpenAPI document of a server's methods (https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import status_pb2

from hrpc_tester.bindings import ALL, Binding, field_of
from hrpc_tester.calls import EVENTS, LINES
from hrpc_tester.headers import TRACE
from hrpc_tester.kinds import entry, is_text
from hrpc_tester.methods import Method
from hrpc_tester.schemas import Schema, Schemas, identifier
from hrpc_tester.templates import Template, Variable

_VERBS = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
_JSON = "application/json"
_PARAMETERS: dict[str, Schema] = {
    "GrpcTimeout": {
        "name": "Grpc-Timeout",
        "in": "header",
        "description": "How long the call may take: up to 8 digits and one of H, M, S, m, u and n.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"},
        "example": "500m",
    },
    "RequestTimeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "The same in seconds; of both, the shorter counts.",
        "schema": {"type": "number", "minimum": 0},
    },
    "Traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "The trace that the call belongs to (W3C Trace Context).",
        "schema": {"type": "string"},
    },
}
_DESCRIPTION = (
    "Every method that takes one message, over HTTP and JSON. Headers named Grpc-Metadata-… are metadata of the call; "
    "metadata of the answer comes back so, and as Grpc-Trailer-…. Methods that take a stream of messages are left out."
)


def document(name: str, version: str | None, methods: Iterable[Method]) -> dict[str, Any]:
    """The document of the service `name`."""
    schemas, paths, tags = Schemas(), dict[str, dict[str, Any]](), dict[str, None]()
    for method in methods:
        if not method.is_callable:
            continue
        tags[method.service] = None
        paths[method.path] = {"post": _direct(method, schemas)}
        for number, binding in enumerate(method.bindings, 1):
            path, operation = _template(binding.template), _bound(method, binding, number, schemas)
            for verb in ("GET", "POST") if binding.verb == ALL else (binding.verb,):
                if verb in _VERBS:  # the document has no place for others
                    paths.setdefault(path, {}).setdefault(verb.lower(), operation)
    schemas.message(status_pb2.Status.DESCRIPTOR)
    return {
        "openapi": "3.1.1",
        "info": {"title": name, "version": version or "unversioned", "description": _DESCRIPTION},
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.all.items())),
            "parameters": _PARAMETERS,
            "responses": {"Error": _error(schemas)},
            "securitySchemes": {
                "authorization": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "Passed on as it is, to what the service has in hrpc.with_auth.",
                }
            },
        },
        "security": [{}, {"authorization": []}],
    }


def _direct(method: Method, schemas: Schemas) -> dict[str, Any]:
    body = {"required": True, "content": {_JSON: {"schema": schemas.message(method.descriptor.input_type)}}}
    return _operation(method, schemas, identifier(method.path), [], body, None)


def _bound(method: Method, binding: Binding, number: int, schemas: Schemas) -> dict[str, Any]:
    message = method.descriptor.input_type
    parameters = [one for variable in binding.template.variables for one in _in_path(variable, message, schemas)]
    in_path = {field_of(message, variable.name) for variable in binding.template.variables}
    body: Schema | None = None
    if binding.body == ALL:
        body = {"required": True, "content": {_JSON: {"schema": schemas.message(message)}}}
    else:
        if binding.body:
            body = {"content": {_JSON: {"schema": schemas.field(message.fields_by_name[binding.body])}}}
        known = {field.name for field in in_path if field is not None and field.containing_type is message}
        parameters += [
            {"name": field.json_name, "in": "query", "schema": schemas.field(field)}
            for field in message.fields
            if field.name not in known and field.name != binding.body and _is_parameter(field)
        ]
    result = method.descriptor.output_type.fields_by_name[binding.response_body] if binding.response_body else None
    return _operation(method, schemas, identifier(method.path, str(number)), parameters, body, result)


def _operation(
    method: Method,
    schemas: Schemas,
    identity: str,
    parameters: list[Schema],
    body: Schema | None,
    result: FieldDescriptor | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": identity, "summary": method.path, "tags": [method.service]}
    found["parameters"] = [*parameters, *({"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS)]
    if body is not None:
        found["requestBody"] = body
    answer = schemas.message(method.descriptor.output_type) if result is None else schemas.field(result)
    found["responses"] = {"200": _answer(method, answer), "default": {"$ref": "#/components/responses/Error"}}
    if method.is_deprecated:
        found["deprecated"] = True
    return found


def _answer(method: Method, answer: Schema) -> Schema:
    headers = {TRACE: {"description": "The trace of the call in the log.", "schema": {"type": "string"}}}
    if not method.descriptor.server_streaming:
        return {"description": "The response.", "headers": headers, "content": {_JSON: {"schema": answer}}}
    error = {"$ref": "#/components/schemas/google.rpc.Status"}
    trailers = {"type": "object", "additionalProperties": {"type": "string"}}
    line = {"type": "object", "properties": {"result": answer, "error": error, "trailers": trailers}}
    return {
        "description": "The responses, one on each line; what ends them comes last. Or the same as events.",
        "headers": headers,
        "content": {LINES: {"schema": line}, EVENTS: {"schema": {"type": "string"}}},
    }


def _error(schemas: Schemas) -> Schema:
    return {
        "description": "The status of a call that has failed, under the code of HTTP that fits it.",
        "content": {_JSON: {"schema": schemas.message(status_pb2.Status.DESCRIPTOR)}},
    }


def _is_parameter(field: FieldDescriptor) -> bool:
    return entry(field) is None and (field.message_type is None or is_text(field.message_type))


def _template(template: Template) -> str:
    """The path as OpenAPI has it, where a variable is a part of one segment."""
    segments: list[str] = []
    for part in template.parts:
        if isinstance(part, Variable):
            names = iter(_names(part))
            segments += [f"{{{next(names)}}}" if one.startswith("*") else one for one in part.segments]
        else:
            segments.append(part)
    return "/" + "/".join(segments) + (f":{template.verb}" if template.verb else "")


def _names(variable: Variable) -> list[str]:
    count = sum(one.startswith("*") for one in variable.segments)
    return [variable.name] if count == 1 else [f"{variable.name}_{number}" for number in range(1, count + 1)]


def _in_path(variable: Variable, message: Descriptor, schemas: Schemas) -> list[Schema]:
    field = field_of(message, variable.name)
    assert field is not None
    schema = schemas.single(field) if variable.is_single else {"type": "string"}
    whole = "/".join(variable.segments)
    described = {} if variable.is_single else {"description": f"A part of {variable.name}, which is {whole}."}
    return [{"name": name, "in": "path", "required": True, "schema": schema, **described} for name in _names(variable)]
