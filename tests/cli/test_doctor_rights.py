"""What ``hrpc doctor`` finds of the rights that a token has, on an agent with ACLs."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from hrpc.testing.servers import ConsulServer, consul_server
from tests.acl import ACL, OWNER
from tests.cli.conftest import Command
from tests.cli.examined import findings, of, service


def ask(address: str, path: str, body: object) -> Any:
    """Sends a request as the owner of an agent with ACLs."""
    headers = {"X-Consul-Token": OWNER}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}/v1{path}", data, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def token(address: str, rules: str, **more: str) -> str:
    """A new token with a policy of these rules."""
    policy = ask(address, "/acl/policy", {"Name": f"p{os.urandom(4).hex()}", "Rules": rules})
    found = ask(address, "/acl/token", {"Policies": [{"ID": policy["ID"]}], **more})
    return str(found["SecretID"])


@pytest.fixture
def guarded(launch: Callable[..., ConsulServer]) -> ConsulServer:
    return launch(lambda: consul_server(ACL))


def test_the_smallest_policy_is_enough(command: Command, guarded: ConsulServer) -> None:
    rules = """
        service "orders" { policy = "write" }
        service "users" { policy = "read" }
        node_prefix "" { policy = "read" }
        key_prefix "development/" { policy = "read" }
    """
    service(command)
    given = token(guarded.address, rules, ExpirationTTL="24h")
    done = command("doctor", "app", CONFIGS_ADDR=guarded.address, CONFIGS_TOKEN=given)
    lines = findings(done)
    assert {level for level, *_ in lines} == {"ok"}, done.stdout
    assert "it expires in 24.0 hours" in of(lines, "token")[0][1]
    assert "may be read and not written, which only configs.set needs" in of(lines, "rights")[-1][1]
    assert given not in done.stdout


def test_each_missing_right_is_a_problem_with_the_line_for_the_policy(command: Command, guarded: ConsulServer) -> None:
    service(command, more='hrpc.with_upstreams("users")')
    given = token(guarded.address, 'key_prefix "staging/" { policy = "read" }', ExpirationTTL="10m")
    done = command("doctor", "app", CONFIGS_ADDR=guarded.address, CONFIGS_TOKEN=given)
    lines = findings(done)
    assert done.returncode == 1
    assert of(lines, "token")[0][0] == "warning"
    assert "it expires in 10 minutes: write a new one to the token file" in of(lines, "token")[0][1]
    assert of(lines, "rights") == [
        ("problem", 'orders may not be registered: add to the policy  service "orders" { policy = "write" }'),
        (
            "problem",
            "nodes may not be read, so every list of instances is empty: add to the policy  "
            'node_prefix "" { policy = "read" }',
        ),
        (
            "problem",
            'keys below development/ may not be read: add to the policy  key_prefix "development/" { policy = "read" }',
        ),
    ]


def test_a_token_that_consul_does_not_know_is_a_problem(command: Command, guarded: ConsulServer) -> None:
    given = "7f1c2b1e-5d0a-4c43-9a5e-0f6f8a3f9d99"
    done = command("doctor", CONFIGS_ADDR=guarded.address, CONFIGS_TOKEN=given)
    [(level, told)] = of(findings(done), "token")
    assert (done.returncode, level) == (1, "problem")
    assert "has expired or was deleted" in told
    assert given not in done.stdout

    service(command)
    lines = findings(command("doctor", "app", CONFIGS_ADDR=guarded.address, CONFIGS_TOKEN=given))
    assert "add to the policy" not in str(lines)
    assert [subject for level, subject, _ in lines if level == "problem"] == ["token"]


def test_acls_without_a_token_are_a_warning(command: Command, guarded: ConsulServer) -> None:
    done = command("doctor", CONFIGS_ADDR=guarded.address)
    assert of(findings(done), "token") == [
        ("warning", "ACLs are on, and no token is given: Consul(token_file=…) or CONFIGS_TOKEN")
    ]
    assert done.returncode == 0


def test_a_service_of_which_consul_is_not_told_needs_no_right_to_be_registered(
    command: Command, guarded: ConsulServer
) -> None:
    rules = "\n".join(
        f'{kind}_prefix "" {{ policy = "{right}" }}'
        for kind, right in (("key", "write"), ("node", "read"), ("agent", "read"))
    )
    secret = token(guarded.address, rules)
    service(command, more="hrpc.with_registration(in_consul=False)")
    done = command("doctor", "app:server", CONFIGS_ADDR=guarded.address, CONFIGS_TOKEN=secret)
    lines = findings(done)
    (found,) = of(lines, "address")
    assert found[0] == "ok"
    assert found[1].startswith("not tried, because Consul is not told of it")
    assert not [text for level, text in of(lines, "rights") if level == "problem"], done.stdout
