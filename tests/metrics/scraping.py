"""A server that is measured, and its metrics as Prometheus reads them."""

from __future__ import annotations

from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

import hrpc
from tests.echo import add_echo

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(server: hrpc.Server, **headers: str) -> tuple[str, str]:
    """The content type and the text of one scrape."""
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
            assert response.status == 200
            return response.headers["Content-Type"], await response.text()


async def samples(server: hrpc.Server) -> Samples:
    """The values of one scrape, by name and labels."""
    _, text = await scrape(server)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, /, **labels: str) -> float:
    """One of them."""
    return found[name, frozenset(labels.items())]


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    """A server that answers ``tests.echo`` and scrapes; `methods` are unary ones."""
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("measured"), local, hrpc.with_metrics(0), *options)
    add_echo(server, **methods)
    return server
