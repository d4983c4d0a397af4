"""The methods of the server, and which of them a request is for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from hrpc.rpc.method import of_the_server
from hrpc_tester import bindings
from hrpc_tester.bindings import ALL, Binding
from hrpc_tester.problem import Problem, listed


@dataclass(frozen=True)
class Method:
    """A method whose messages are known."""

    path: str
    """``/package.Service/Method``."""
    descriptor: MethodDescriptor
    bindings: tuple[Binding, ...]

    @cached_property
    def request(self) -> type[Message]:
        """What it takes."""
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @cached_property
    def response(self) -> type[Message]:
        """What it gives."""
        return message_factory.GetMessageClass(self.descriptor.output_type)

    @property
    def service(self) -> str:
        """The full name of its service."""
        return self.path.split("/")[1]

    @property
    def is_of_the_server(self) -> bool:
        """Whether it is for probes and tools, and no method of the user's."""
        return of_the_server(self.path)

    @property
    def is_callable(self) -> bool:
        """Whether one request of HTTP can call it: it takes one message, and no stream of them."""
        return not self.descriptor.client_streaming

    @property
    def is_deprecated(self) -> bool:
        """Whether the proto file says so."""
        return bool(self.descriptor.GetOptions().deprecated)


@dataclass(frozen=True, slots=True)
class Match:
    """A request's method; without a binding, by its own path."""

    method: Method
    binding: Binding | None = None
    variables: Mapping[str, str] | None = None


class Methods:
    """All methods of a server that has begun to serve."""

    def __init__(self, paths: Iterable[str], *, is_generic: bool = False) -> None:
        """`is_generic`: a handler may serve more than `paths`; these are looked for among all that are known."""
        self._is_generic = is_generic
        self.unknown: list[str] = []
        """Those whose messages no descriptor tells."""
        self.all: dict[str, Method] = {}
        for path in sorted(paths):
            method = _described(path)
            if method is None:
                self.unknown.append(path)
            else:
                self.all[path] = method
        found = [(method, binding) for method in self.all.values() for binding in method.bindings]
        self._bound = sorted(found, key=lambda pair: pair[1].template.precedence)

    def match(self, verb: str, path: str) -> Match:
        """What a request is for; `path` is still percent-encoded. Raises `Problem`."""
        method = self.all.get(path) or (_described(path) if self._is_generic else None)
        if method is not None and verb == "POST":
            return Match(method)
        others = {"POST"} if method is not None else set[str]()
        for bound, binding in self._bound:
            variables = binding.template.match(path)
            if variables is None:
                continue
            is_asked = verb == "HEAD" and binding.verb == "GET" and not bound.descriptor.server_streaming
            if binding.verb in (ALL, verb) or is_asked:
                return Match(bound, binding, variables)
            others.add(binding.verb)
        if others:
            allowed = sorted(others)
            raise Problem(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{path} takes {listed(allowed)}, not {verb}",
                status=405,
                headers={"Allow": ", ".join(allowed)},
            )
        raise self._unknown(path)

    def _unknown(self, path: str) -> Problem:
        if path in self.unknown:
            return Problem(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{path} is served, but its messages are not described in this process, as those of grpc_tools are: "
                "it takes bytes, and no JSON",
            )
        folded: dict[str, str] = {one.lower(): one for one in self.all}
        near = difflib.get_close_matches(path.lower(), folded, n=3, cutoff=0.6)
        if not near:
            last = path.rpartition("/")[2].lower()
            near = [one for one in folded if last and one.endswith(f"/{last}")][:3]
        hint = f"; did you mean {listed([folded[one] for one in near])}?" if near else "; GET / lists what there is"
        return Problem(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path}{hint}", status=404)


def _described(path: str) -> Method | None:
    service, _, name = path.removeprefix("/").partition("/")
    pool: Any = descriptor_pool.Default()
    try:
        descriptor = pool.FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    return Method(path, descriptor, bindings.of(descriptor))
