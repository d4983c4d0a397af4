"""The command: one line for each finding, and exit code 1 when one is a problem."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager

import click

from hrpc.cli.consul import ask, chosen_consul, consul_options
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.examination import examine
from hrpc.cli.load import load
from hrpc.option import Consul, Settings


@click.command()
@click.argument("target", metavar="[MODULE:SERVER]", required=False)
@consul_options
def doctor(target: str | None, consul: str | None, token_file: str | None, datacenter: str | None) -> None:
    """Says what is wrong around a service, and what to do. Without SERVER, it looks at Consul and at what is installed.

    For a few seconds it registers a second entry of the service, which callers never see, to have the agent try the
    address.
    """
    settings = None if target is None else load(target).settings
    place = chosen_consul(None if settings is None else settings.consul, consul, token_file, datacenter)
    wants_consul = settings is None or settings.consul is not None or consul is not None
    sys.exit(ask(_examined(settings, place, wants_consul)))


async def _examined(settings: Settings | None, consul: Consul, wants_consul: bool) -> int:
    from hrpc.consul.transport import Transport

    def connect() -> AbstractAsyncContextManager[Transport]:
        return Transport(consul)

    problems = 0
    async for finding in examine(Case(settings, consul, wants_consul, connect)):
        click.echo(f"{finding.level:7}  {finding.subject:9}  {finding.text}")
        problems += finding.level == "problem"
    return 1 if problems else 0
