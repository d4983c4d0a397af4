"""``hrpc plugins``: what is installed beside hrpc, whether it can be used, and which commands it adds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from hrpc.cli.errors import CommandError
from hrpc.cli.table import aligned
from hrpc.errors import PluginError
from hrpc.option import installed
from hrpc.option.installed import Installed
from hrpc.option.plugin_checks import check_version

HEADS = ("PLUGIN", "VERSION", "PACKAGE", "API", "STATE", "COMMANDS")
BY_NAME = "ok"
IN_CODE = "ok, made in code"
"""Of one that takes arguments, so that a name does not do."""
UNUSABLE = "cannot be used"


class Seen(NamedTuple):
    """An installed plugin that has been looked at."""

    it: Installed
    state: str
    api: int | None
    commands: Mapping[str, str]
    """The names of its commands, with "module:attribute" of each."""
    problem: str = ""
    """Why it cannot be used; empty when it can."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def plugins(as_json: bool) -> None:
    """Lists the installed plugins; says why one cannot be used."""
    found = seen()
    click.echo(_json(found) if as_json else _table(found))
    unusable = [each for each in found if each.problem]
    for each in unusable:
        click.echo(f"hrpc: {each.problem}", err=True)
    if unusable:
        raise CommandError(f"{len(unusable)} of {len(found)} plugins cannot be used")


def seen() -> list[Seen]:
    """All that are installed, by name."""
    every = installed.all_installed()
    names = [each.name for each in every]
    return [_twice(each) if names.count(each.name) > 1 else look(each) for each in every]


def look(it: Installed) -> Seen:
    """Imports one, and makes it where that takes no arguments."""
    try:
        made = it.load()
        if callable(made) and installed.needs_arguments(made):
            api = getattr(made, "api_version", 1)
            check_version(it.told, it.name, api)
            return Seen(it, IN_CODE, api, _commands(made))
        plugin = it.make()
    except PluginError as error:
        return Seen(it, UNUSABLE, None, {}, str(error))
    return Seen(it, BY_NAME, getattr(plugin, "api_version", 1), _commands(plugin))


def _twice(it: Installed) -> Seen:
    return Seen(it, UNUSABLE, None, {}, f"{it.told}: another package has one of that name; uninstall one of them")


def _commands(plugin: object) -> Mapping[str, str]:
    found = getattr(plugin, "commands", {})
    return found if isinstance(found, Mapping) else {}


def _table(found: Sequence[Seen]) -> str:
    if not found:
        return "no plugin is installed"
    rows = [_row(each) for each in found]
    return "\n".join(aligned([HEADS, *rows]))


def _row(each: Seen) -> tuple[str, ...]:
    commands = ", ".join(sorted(each.commands)) or "-"
    api = "-" if each.api is None else str(each.api)
    return each.it.name, each.it.version, each.it.package, api, each.state, commands


def _json(found: Sequence[Seen]) -> str:
    told = [
        {
            "name": each.it.name,
            "version": each.it.version,
            "package": each.it.package,
            "api_version": each.api,
            "state": each.state,
            "problem": each.problem or None,
            "commands": dict(each.commands),
        }
        for each in found
    ]
    return json.dumps(told, indent=2, ensure_ascii=False)
