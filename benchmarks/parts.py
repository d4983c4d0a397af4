"""The parts of the benchmark: what each measures, and the page that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks import comparisons, hot_loop, memory, pieces, startup
from benchmarks.discovery import calls, changes, lookups, names, pickers, returns
from benchmarks.discovery.targets import TARGETS as DISCOVERY_TARGETS
from benchmarks.life import lives, probes
from benchmarks.life.targets import TARGETS as LIFE_TARGETS
from benchmarks.page import Page
from benchmarks.plugins import ids, inmemory, locks, rabbitmq, sidecar
from benchmarks.plugins.targets import TARGETS as PLUGINS_TARGETS
from benchmarks.targets import TARGETS, WORKERS

_HERE = Path(__file__).parent

SERVING = Page(
    "performance.md",
    "latest.json",
    {
        "stack": comparisons.stack,
        "metadata": comparisons.metadata,
        "methods": comparisons.methods,
        "connections": comparisons.connections,
        "payloads": comparisons.payloads,
        "streams": comparisons.streams,
        "hot-loop": hot_loop.hot_loop,
        "pieces": pieces.pieces,
        "imports": startup.imports,
        "starts": startup.starts,
        "memory": memory.memory,
    },
    TARGETS,
    head=_HERE / "head.md",
    tail=_HERE / "profile.md",
    charted="stack",
    programs=("h2load",),
)
DISCOVERY = Page(
    "discovery-performance.md",
    "discovery.json",
    {
        "lookups": lookups.lookups,
        "pickers": pickers.pickers,
        "channel": calls.calls,
        "changes": changes.changes,
        "names": names.names,
        "returns": returns.returns,
    },
    DISCOVERY_TARGETS,
    head=_HERE / "discovery/page.md",
    programs=("consul",),
)
LIFE = Page(
    "life-performance.md",
    "life.json",
    {"lives": lives.lives, "probes": probes.probes, "workers": comparisons.workers},
    (*LIFE_TARGETS, *WORKERS),
    head=_HERE / "life/page.md",
    programs=("consul", "h2load"),
)

PLUGINS = Page(
    "plugins-performance.md",
    "plugins.json",
    {
        "inmemory": inmemory.inmemory,
        "locks": locks.locks,
        "ids": ids.ids,
        "rabbitmq": rabbitmq.rabbitmq,
        "sidecar": sidecar.sidecar,
    },
    PLUGINS_TARGETS,
    head=_HERE / "plugins/page.md",
    programs=("consul",),
)

PARTS: Mapping[str, Page] = {"serving": SERVING, "discovery": DISCOVERY, "life": LIFE, "plugins": PLUGINS}
