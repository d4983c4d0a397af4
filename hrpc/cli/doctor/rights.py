"""What the ACL token may do of what the service needs, and the line of a policy for what it may not.

What is tried changes nothing: a key is written on the condition of an index that no key has
(https://developer.hashicorp.com/consul/api-docs/kv#cas). Whether the service may be registered is found out by
`reach`. The rules are those of https://developer.hashicorp.com/consul/docs/security/acl/acl-rules.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem, warning
from hrpc.errors import ConsulPermissionDenied, ConsulRefused

if TYPE_CHECKING:
    from hrpc.consul.transport import Transport

NEVER = 2**64 - 1
"""An index that no key has."""
SOON = 3600.0
"""Seconds to the end of a token from which on it is worth a warning."""

NODES = 'node_prefix "" { policy = "read" }'


def write_rule(service: str) -> str:
    """The rule by which a service may be registered."""
    return f'service "{service}" {{ policy = "write" }}'


async def token(case: Case) -> list[Finding]:
    """Whether ACLs are on, and whether Consul knows the token."""
    async with case.connect() as transport:
        given = bool(transport.token.value)
        try:
            answer = await transport.request("GET", "/v1/acl/token/self")
        except ConsulRefused as error:
            if error.status == 401:
                return [ok("token", "ACLs are off" + (", so the token that is given does nothing" if given else ""))]
            raise
        except ConsulPermissionDenied as error:
            if given:
                case.token_is_known = False
                without = "; what it may do is looked at once Consul knows it" if case.settings else ""
                return [problem("token", f"{error}{without}")]
            return [warning("token", "ACLs are on, and no token is given: Consul(token_file=…) or CONFIGS_TOKEN")]
        if answer.code == 404:
            return [warning("token", "Consul does not tell whether ACLs are on")]
        return [_expiry(transport.json("GET /v1/acl/token/self", answer, dict))]


def _expiry(found: dict[str, Any]) -> Finding:
    names = ", ".join(repr(policy.get("Name")) for policy in found.get("Policies") or ()) or "none"
    told = f"Consul knows it; its policies: {names}"
    expires = found.get("ExpirationTime")
    if not expires:
        return ok("token", told)
    # Python 3.11 reads no nanoseconds.
    at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(expires)))
    left = (at - datetime.now(UTC)).total_seconds()
    if left < SOON:
        return warning(
            "token", f"{told}; it expires in {max(0.0, left) / 60:.0f} minutes: write a new one to the token file"
        )
    return ok("token", f"{told}; it expires in {left / 3600:.1f} hours")


async def reading(case: Case) -> list[Finding]:
    """Whether instances of other services can be seen: without the right to, Consul gives empty lists."""
    async with case.connect() as transport:
        nodes = await transport.request("GET", "/v1/catalog/nodes", {"stale": ""})
        if nodes.code != 404 and not transport.json("GET /v1/catalog/nodes", nodes, list):
            return [
                problem(
                    "rights", f"nodes may not be read, so every list of instances is empty: add to the policy  {NODES}"
                )
            ]
        findings = [await _upstream(case, transport, name) for name in case.server.upstreams]
        return findings or [ok("rights", "nodes may be read, and so instances of services that may be read")]


async def _upstream(case: Case, transport: Transport, name: str) -> Finding:
    from hrpc.consul.listing import listed

    found = (await listed(transport, name, case.consul.datacenter))[1]
    own = [each for each in found if str(case.server.environment) in each.instance.tags]
    passing = sum(each.health == "passing" for each in own)
    if passing:
        return ok("upstream", f"{name}: {passing} of {len(own)} instances pass their checks")
    if own:
        return warning(
            "upstream", f"{name}: none of {len(own)} instances passes its checks: hrpc services {name} says why"
        )
    if found:
        return warning(
            "upstream",
            f"{name}: {len(found)} instances, and none has the tag {str(case.server.environment)!r}: check "
            "hrpc.with_environment on both sides",
        )
    return warning(
        "upstream",
        f"{name}: no instance is seen: start one; or, when there is one, add to the policy  "
        f'service "{name}" {{ policy = "read" }}',
    )


async def keys(case: Case) -> list[Finding]:
    """Whether the keys of the environment can be read and written."""
    prefix = case.server.kv_prefix
    path = f"/v1/kv/{prefix}/services/{case.server.server_name}/hrpc-doctor"
    async with case.connect() as transport:
        try:
            await transport.request("GET", path)
        except ConsulPermissionDenied:
            rule = f'key_prefix "{prefix}/" {{ policy = "read" }}'
            return [problem("rights", f"keys below {prefix}/ may not be read: add to the policy  {rule}")]
        try:
            await transport.request("PUT", path, {"cas": str(NEVER)}, data=json.dumps("hrpc doctor"))
        except ConsulPermissionDenied:
            rule = f'key_prefix "{prefix}/" {{ policy = "write" }}'
            told = f"keys below {prefix}/ may be read and not written, which only configs.set needs"
            return [ok("rights", f"{told}; to let it, change in the policy  {rule}")]
        return [ok("rights", f"keys below {prefix}/ may be read and written")]
