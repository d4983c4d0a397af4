"""The READMEs of the plugins: their code compiles, their services can be made, and every name of ours is there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hrpc
from tests.examples.pages import ROOT, blocks

PAGES = sorted(ROOT.glob("plugins/*/README.md"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("page", PAGES, ids=[page.parent.name for page in PAGES])


def tree(code: str) -> ast.Module:
    module = compile(code, "a README", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(module, ast.Module)
    return module


def imported(module: ast.Module) -> dict[str, Any]:
    """What the imports of ours give. Raises ImportError when there is no such thing."""
    names: dict[str, Any] = {}
    for code in (ast.unparse(each) for each in module.body if isinstance(each, ast.Import | ast.ImportFrom)):
        if code.split()[1].startswith("hrpc"):
            exec(code, names)
    return names


def paths(module: ast.Module, names: dict[str, Any]) -> Iterator[list[str]]:
    """``a.b(c).d`` → ``[a, b]``, of what was imported: the attributes in front of a call."""
    for node in ast.walk(module):
        path = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if path and isinstance(node, ast.Name) and node.id in names:
            yield [node.id, *reversed(path)]


def test_every_name_of_ours_is_there(page: Path) -> None:
    looked_up = 0
    names: dict[str, Any] = {}
    for module in map(tree, blocks("python", page)):
        names |= imported(module)
        for first, *rest in paths(module, names):
            value = names[first]
            for step in rest:
                value = getattr(value, step)
            looked_up += 1
    assert looked_up


def test_its_service_can_be_made(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGS_ADDR", "127.0.0.1:1")  # most have their settings in Consul
    monkeypatch.setattr(hrpc.Server, "serve", lambda server: None)
    module = tree(blocks("python", page)[0])
    # A line that only calls something is for a handler, as the comment behind it says; it needs a server that runs.
    module.body = [each for each in module.body if not isinstance(each, ast.Expr) or "serve" in ast.unparse(each)]
    generated = {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and node.id.endswith("_pb2_grpc")}
    service = ModuleType("service")  # where dataclasses look for what their fields are
    monkeypatch.setitem(sys.modules, service.__name__, service)
    vars(service).update({name: Generated() for name in generated})
    exec(compile(module, str(page), "exec", dont_inherit=True), vars(service))
    assert isinstance(service.server, hrpc.Server)


class Generated:
    """A module that is made of a proto file of the reader, such as ``orders_pb2_grpc``."""

    def __getattr__(self, name: str) -> Any:
        return object
