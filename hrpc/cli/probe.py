"""``hrpc probe``: asks a running service how it is, for exec probes of containers and for whoever wants to know.

It is run every few seconds beside the service that it asks, so it imports neither gRPC nor click.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress

from hrpc import run_folder
from hrpc.cli import arguments
from hrpc.cli.reaching import Reached, ReachError, SeveralError, folders, reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any
    from urllib.parse import SplitResult

    from hrpc.health.heartbeat import Beat

KINDS = ("startup", "liveness", "readiness")
_PORTS = {"http": 80, "https": 443}
_SHARE = 0.9
"""What of the limit the service may take for its answer, which names what it waits for; the rest is for the way."""


def run(given: list[str]) -> int:
    """Runs the command; gives its exit code: 0 when all is well, 1 when it is not."""
    parser = _parser()
    options, turned = parser.parse_args(given), os.environ.get("HEALTH_STATUS") or None
    if (wrong := _misused(options, turned)) is not None:
        parser.error(wrong)
    try:
        ask = _asked_at if options.address else _asked_file if options.heartbeat else _asked_here
        who, well, text = ask(options, turned)
    except ReachError as error:
        return _told(False, f"{options.kind}: {error}")
    return _told(well, f"{options.kind} of {who}: {text}")


def _misused(options: Namespace, turned: str | None) -> str | None:
    if turned not in (None, "open", "close"):
        return f"HEALTH_STATUS={turned}: takes open or close, or leave it out to probe"
    chosen = options.name is not None or options.pid is not None
    if chosen + (options.address is not None) + (options.heartbeat is not None) > 1:
        return "--address, --heartbeat, and --name or --pid each say whom to ask: give one of them"
    if options.heartbeat is not None and options.kind != "liveness":
        return "--heartbeat says nothing but liveness"
    if options.heartbeat is not None and turned is not None:
        return "--heartbeat is for probing: a file has no switch for HEALTH_STATUS"
    if options.ca is not None and (options.address is None or options.address.scheme != "https"):
        return "--ca is for an --address with https"
    return None


def _told(well: bool, text: str) -> int:
    print(" ".join(text.split()), file=sys.stdout if well else sys.stderr)
    return 0 if well else 1


def _asked_here(options: Namespace, turned: str | None) -> tuple[str, bool, str]:
    name, pid = options.name, options.pid
    try:
        with reach(name, pid) as reached:
            name, pid = reached.name, reached.pid
            answer = _answer(reached, options, turned)
    except SeveralError:
        raise
    except ReachError:
        # A job may keep its event loop from answering for a while, or have no socket.
        beats = [] if turned or options.kind != "liveness" else _fresh_heartbeats(name, pid)
        if len(beats) != 1:
            raise
        return f"{beats[0].name} (pid {beats[0].pid})", True, "its heartbeat is younger than 15 s"
    return f"{name} (pid {pid})", answer["ok"] is True, answer.get("text") or answer["error"]


def _answer(reached: Reached, options: Namespace, turned: str | None) -> dict[str, Any]:
    if turned is None:
        return reached.ask(options.kind, timeout=options.timeout, within=options.timeout * _SHARE)
    reason = "by HEALTH_STATUS=close"
    return reached.ask(turned, timeout=options.timeout, kind=options.kind, reason=reason)


def _fresh_heartbeats(name: str | None, pid: int | None) -> list[Beat]:
    from hrpc.health import heartbeat

    found: list[Beat] = []
    for path in folders():
        with suppress(OSError), run_folder.opened(path) as folder:
            for beat in heartbeat.found(folder.path):
                is_wanted = name in (None, beat.name) and pid in (None, beat.pid)
                # What a killed job has left looks alive for 15 s.
                if is_wanted and run_folder.lives(beat.pid) and heartbeat.is_alive(beat.path):
                    found.append(beat)
    return found


def _asked_file(options: Namespace, _: str | None) -> tuple[str, bool, str]:
    from hrpc.health import heartbeat

    try:
        is_alive = heartbeat.is_alive(options.heartbeat)
    except OSError as error:
        raise ReachError(f"{options.heartbeat} cannot be read: {error.strerror}") from None
    return options.heartbeat, is_alive, "ok" if is_alive else "no heartbeat there within the last 15 s"


def _asked_at(options: Namespace, turned: str | None) -> tuple[str, bool, str]:
    from http.client import HTTPException

    where = options.address.geturl()
    try:
        status, body = _requested(options, turned)
    except TimeoutError:
        raise ReachError(f"{where} gave no answer within {options.timeout:g} s") from None
    except OSError as error:
        raise ReachError(f"{where} does not answer: {error.strerror or str(error) or type(error).__name__}") from None
    except HTTPException:
        raise ReachError(f"{where} answers, but not with HTTP: is it the right port?") from None
    try:
        text = json.loads(body)["msg"]
    except (ValueError, TypeError, KeyError):
        raise ReachError(f"{where} answered {status}, but not as a health port does: is it the right port?") from None
    if turned is not None and status == 200:
        text = turned
    return where, status == 200, text


def _requested(options: Namespace, turned: str | None) -> tuple[int, bytes]:
    from http.client import HTTPConnection, HTTPSConnection

    parts = options.address
    host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    if parts.scheme == "https":
        context = _trusting(options.ca)
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=options.timeout, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=options.timeout)
    token = os.environ.get("HRPC_DEBUG_TOKEN")
    path = f"{parts.path.rstrip('/')}/healthx/{options.kind}"
    try:
        if turned is None:
            connection.request("GET", path)
        else:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("POST", f"{path}/{turned}", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(1_000_000)
    finally:
        connection.close()


def _trusting(certificates: str | None) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise ReachError(f"--ca {certificates} cannot be read: {error.strerror or error}") from None


def _parser() -> ArgumentParser:
    parser = arguments.parser(
        "probe",
        "Asks a service that runs on this machine how it is. Exit code 0: well; 1: not well, or not there.",
        "HEALTH_STATUS=close hrpc probe readiness lets that probe fail until HEALTH_STATUS=open.",
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument(
        "--address", type=_url, help="ask the health port over the network, http://host:port or https://host:port"
    )
    parser.add_argument("--ca", metavar="FILE", help="the certificates to trust for https, instead of the system's")
    parser.add_argument("--heartbeat", metavar="FILE", help="look at the heartbeat that a job writes to this file")
    parser.add_argument(
        "--timeout", type=arguments.seconds, default=1.0, help="seconds to wait for the answer, 1 by default"
    )
    return parser


def _url(text: str) -> SplitResult:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme in _PORTS and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r} is no address: http://host:port or https://host:port")
