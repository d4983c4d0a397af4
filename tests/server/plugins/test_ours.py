"""The plugins of this repository keep to the contract, as `hrpc plugins` would see them when they are installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import hrpc
from hrpc.cli.plugins import look
from hrpc.option.installed import GROUP, Installed

ROOT = Path(__file__).parents[3]
PROJECTS = [tomllib.loads(path.read_text())["project"] for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]
NAMED = {
    name: Installed(name, project["name"], project["version"], EntryPoint(name, value, GROUP))
    for project in PROJECTS
    for name, value in project.get("entry-points", {}).get(GROUP, {}).items()
}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project["name"])
def test_a_plugin_of_ours_is_found_by_the_name_of_its_package_alone(project: dict[str, Any]) -> None:
    assert list(project["entry-points"][GROUP]) == [project["name"]]


@pytest.mark.parametrize("name", NAMED)
def test_a_plugin_of_ours_can_be_used(name: str) -> None:
    assert look(NAMED[name]).problem == ""


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project["name"])
def test_a_plugin_of_ours_takes_this_hrpc_and_not_the_package_of_another_that_is_called_the_same(
    project: dict[str, Any],
) -> None:
    (needed,) = [one for one in map(Requirement, project["dependencies"]) if one.name == "hrpc"]
    assert hrpc.__version__ in needed.specifier
    assert "1.0" not in needed.specifier
