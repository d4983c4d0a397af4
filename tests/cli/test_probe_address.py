"""``hrpc probe`` of a service on another machine, or of none: by the address of its health port."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.authority import Authority
from tests.cli.conftest import Command
from tests.cli.probing import health_address, probe, started


def test_by_address_the_health_port_is_asked(command: Command, run_dir: str) -> None:
    address = health_address(started(command, run_dir))
    for given in (address, f"http://{address}", f"http://{address}/"):
        ran = probe(command, "liveness", "--address", given, HRPC_RUN_DIR="none")
        assert (ran.returncode, ran.stderr) == (0, "")
    (command.folder / "broken").touch()
    ran = probe(command, "readiness", "--address", address)
    assert (ran.returncode, ran.stderr) == (1, f"readiness of http://{address}: index: it says no\n")


def test_by_address_the_switch_is_turned(command: Command, run_dir: str) -> None:
    address = health_address(started(command, run_dir))
    wrong = probe(command, "readiness", "--address", address, HEALTH_STATUS="close", HRPC_DEBUG_TOKEN="x" * 16)
    assert (wrong.returncode, "this is not the token" in wrong.stderr) == (1, True)
    token = "0123456789abcdef"
    ran = probe(command, "readiness", "--address", address, HEALTH_STATUS="close", HRPC_DEBUG_TOKEN=token)
    assert (ran.returncode, ran.stdout) == (0, f"readiness of http://{address}: close\n")
    assert probe(command, "readiness", "--address", address).returncode == 1


def test_https_is_trusted_by_the_certificates_that_are_named(command: Command, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.write(tmp_path / "tls", "localhost"))
    with answering(b'{"msg": "success"}') as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        address = f"https://127.0.0.1:{server.server_port}"
        assert probe(command, "liveness", "--address", address, "--ca", str(authority.path)).returncode == 0
        refused = probe(command, "liveness", "--address", address)
        assert (refused.returncode, "certificate verify failed" in refused.stderr) == (1, True)
        missing = probe(command, "liveness", "--address", address, "--ca", str(tmp_path / "none.pem"))
        told = f"liveness: --ca {tmp_path / 'none.pem'} cannot be read: No such file or directory\n"
        assert (missing.returncode, missing.stderr) == (1, told)


def test_what_is_no_health_port_says_so(command: Command, free_port: int) -> None:
    with answering(b"hello") as server:
        ran = probe(command, "liveness", "--address", f"127.0.0.1:{server.server_port}")
        assert (ran.returncode, "answered 200, but not as a health port does" in ran.stderr) == (1, True)
    with answering(b"", version="\0\1") as server:
        ran = probe(command, "liveness", "--address", f"127.0.0.1:{server.server_port}")
        told = f"liveness: http://127.0.0.1:{server.server_port} answers, but not with HTTP: is it the right port?\n"
        assert (ran.returncode, ran.stderr) == (1, told)
    ran = probe(command, "liveness", "--address", f"127.0.0.1:{free_port}")
    assert ran.stderr == f"liveness: http://127.0.0.1:{free_port} does not answer: Connection refused\n"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ran = probe(command, "liveness", "--address", address, "--timeout", "0.1")
        assert (ran.returncode, ran.stderr) == (1, f"liveness: http://{address} gave no answer within 0.1 s\n")


@contextmanager
def answering(body: bytes, version: str = "HTTP/1.0") -> Iterator[HTTPServer]:
    """An HTTP server that gives this body to everybody."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
