"""What is installed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from hrpc._version import __version__
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem

EXTRAS = {
    "mysql": "aiomysql",
    "redis": "redis",
    "otel": "opentelemetry-sdk",
    "reflection": "grpcio-reflection",
    "uvloop": "uvloop",
    "native": "pygrpc-native",
}
"""The package of each extra by which one sees that it is installed."""


async def versions(case: Case) -> list[Finding]:
    """Python, hrpc and gRPC; the extras, and those that the service needs."""
    extras = {extra: found for extra, package in EXTRAS.items() if (found := _version(package))}
    installed = ", ".join(f"{extra} ({EXTRAS[extra]} {found})" for extra, found in extras.items()) or "none"
    told = f"hrpc {__version__}, Python {platform.python_version()}, grpcio {_version('grpcio')}; extras: {installed}"
    return [ok("versions", told), *(_missing(extra, why) for extra, why in _needed(case) if extra not in extras)]


def _needed(case: Case) -> list[tuple[str, str]]:
    if case.settings is None:
        return []
    wanted = {
        "otel": (case.settings.tracing is not None, "tracing is asked for"),
        "reflection": (bool(case.settings.reflection or case.settings.channelz), "reflection or channelz is asked for"),
        "native": (case.settings.engine.kind == "native", "the native engine is chosen"),
        "uvloop": (case.settings.event_loop == "uvloop", "uvloop is chosen"),
    }
    return [(extra, why) for extra, (is_wanted, why) in wanted.items() if is_wanted]


def _missing(extra: str, why: str) -> Finding:
    return problem("versions", f"{why}, and {EXTRAS[extra]} is not installed: pip install 'hrpc[{extra}]'")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
