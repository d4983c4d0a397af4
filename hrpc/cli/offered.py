"""The commands that plugins add. Plugins are imported only for a command that is none of hrpc's own, and for --help."""

from __future__ import annotations

from importlib import import_module

import click

from hrpc.cli.errors import CommandError
from hrpc.option.plugin_checks import in_a_line

Offers = dict[str, list[tuple[str, str]]]


class Commands(click.Group):
    """hrpc's own commands, and those of plugins; a name of hrpc's own is always that one."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of all."""
        return sorted({*super().list_commands(context), *_offers(context)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this name; None when there is none."""
        own = super().get_command(context, name)
        if own is not None:
            return own
        offers = _offers(context).get(name)
        if offers is None:
            return None
        if len(offers) > 1:
            plugins = " and ".join(repr(plugin) for plugin, _ in offers)
            return _unusable(name, f"the plugins {plugins} both have a command {name!r}: uninstall one of them")
        return _imported(name, *offers[0])


def _offers(context: click.Context) -> Offers:
    """The plugins that offer a command, by its name, with where it is. Tells of plugins that cannot be used."""
    from hrpc.cli.plugins import seen

    if (known := context.meta.get(__name__)) is not None:
        return known  # type: ignore[no-any-return]
    found: Offers = {}
    context.meta[__name__] = found
    for each in seen():
        if each.problem:
            click.echo(f"hrpc: {each.problem}", err=True)
        for name, place in each.commands.items():
            found.setdefault(name, []).append((each.it.name, place))
    return found


def _imported(name: str, plugin: str, place: str) -> click.Command:
    told = f"plugin {plugin!r}: its command {name!r}"
    module, _, attribute = str(place).partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - importing runs anything; the other commands do not suffer from it
        return _unusable(name, f"{told} cannot be imported from {place!r}: {in_a_line(error)}")
    if not isinstance(command, click.Command):
        return _unusable(name, f"{told} is no click.Command, but {place!r} is {command!r}")
    return command


def _unusable(name: str, why: str) -> click.Command:
    def fail() -> None:
        raise CommandError(why)

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, help=why, context_settings=anything, add_help_option=False)
