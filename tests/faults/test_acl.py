"""ACLs whose default is to deny: the least that a service needs, and a token that expires while calls go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hrpc
from hrpc import configs, service
from hrpc.errors import ConsulPermissionDenied, HrpcError
from hrpc.testing.servers import ConsulServer, consul_server
from tests.acl import ACL, Owner
from tests.eventually import eventually
from tests.faults.services import a_server
from tests.load import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

LEAST = {
    "register": 'service "ours" { policy = "write" }',
    "find": 'service "theirs" { policy = "read" }',
    "nodes": 'node_prefix "" { policy = "read" }',
    "configs": 'key_prefix "development/" { policy = "read" }',
}
"""What docs/consul.md tells: the token of a service `ours` that calls `theirs` and reads its configuration."""
LIFETIME = 60.0
"""Seconds: Consul makes no token that lives shorter."""
BACK_WITHIN = 2.0


@pytest.fixture
def guarded(launch: Callable[..., ConsulServer]) -> ConsulServer:
    """An agent with ACLs whose default policy is deny."""
    return launch(lambda: consul_server(ACL))


async def prepared(consul: ConsulServer) -> Owner:
    """The owner, with an instance of `theirs` and a value in the store."""
    owner = Owner(consul.address)
    entry = {"ID": "theirs-1", "Name": "theirs", "Address": "127.0.0.1", "Port": 9, "Tags": ["development"]}
    await owner.ask("PUT", "/agent/service/register", entry)
    await owner.ask("PUT", "/kv/development/key", b"value")
    return owner


async def uses(consul: hrpc.Consul) -> set[str]:
    """What a service that has this token can do."""
    able = set()
    try:
        async with a_server("ours", consul):
            able.add("register")
            for name, look in (("find", lambda: service.get("theirs")), ("configs", lambda: configs.get("key"))):
                try:
                    look()
                except HrpcError:
                    continue
                able.add(name)
    except hrpc.errors.StartError as error:
        assert isinstance(error.__cause__, ConsulPermissionDenied), error
    return able


async def test_the_least_policy_is_enough_and_each_of_its_rules_is_needed(
    guarded: ConsulServer, figures: Callable[..., None]
) -> None:
    owner = await prepared(guarded)
    able = {}
    for left_out in (None, *LEAST):
        rules = [rule for name, rule in LEAST.items() if name != left_out]
        token = await owner.token(f"without-{left_out}", rules)
        able[left_out] = await uses(hrpc.Consul(address=guarded.address, token=token))
    figures(rules=len(LEAST))
    assert able == {
        None: {"register", "find", "configs"},
        "register": set(),
        "find": {"register", "configs"},
        "nodes": {"register", "configs"},
        "configs": {"register", "find"},
    }


async def test_a_token_that_expires_costs_no_call_and_a_new_one_in_its_file_is_used_at_once(
    guarded: ConsulServer, tmp_path: Path, figures: Callable[..., None]
) -> None:
    owner = await prepared(guarded)
    file = tmp_path / "token"
    file.write_text(await owner.token("first", list(LEAST.values()), f"{LIFETIME:g}s"))
    made = time.monotonic()
    newer = await owner.token("second", list(LEAST.values()))
    consul = hrpc.Consul(address=guarded.address, token_file=str(file))
    async with a_server("ours", consul), service.channel("ours") as channel, load(channel) as calls:
        assert configs.get("key") == "value"
        while time.monotonic() < made + LIFETIME + 1:
            await asyncio.sleep(0.5)  # until Consul's clock has reached the end of the token
        # What the agent holds since before the end may still be answered; what comes after that is denied.
        await owner.ask("PUT", "/kv/development/key", b"held")
        await calls.goes_on(500)
        await owner.ask("PUT", "/kv/development/key", b"unseen")
        # Somebody takes the entry away at the agent, which cannot tell its servers: it has the old token for that.
        (entry,) = await owner.instances("ours")
        await owner.ask("PUT", f"/agent/service/deregister/{entry['Service']['ID']}")
        await calls.goes_on(2000)
        assert configs.get("key") in ("value", "held")
        assert await owner.at_agent() == {"theirs"}
        assert await owner.instances("ours")

        file.write_text(newer)
        began = time.monotonic()

        async def back() -> bool:
            return "ours" in await owner.at_agent() and configs.get("key") == "unseen"

        await eventually(back)
        back_s = time.monotonic() - began
        await calls.goes_on()
    figures(back_s=back_s, calls=calls.good, failed=calls.failed.total(), longest_call_s=calls.longest)
    assert not calls.failed
    assert back_s <= BACK_WITHIN
    assert not await owner.instances("ours")
