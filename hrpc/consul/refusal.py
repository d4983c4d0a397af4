"""What an answer of Consul that is no success means, and what to do about it."""

from __future__ import annotations

from hrpc.consul.token import Token
from hrpc.errors import ConsulError, ConsulPermissionDenied, ConsulRefused, ConsulUnreachable
from hrpc.option import Consul

_NOT_FOUND = "ACL not found"


def unknown_token(body: str) -> bool:
    """Whether this body of a 403 says that Consul does not know the token."""
    return _NOT_FOUND in body


def is_outage(error: ConsulError) -> bool:
    """Whether Consul is away, or without its servers; and not that it has decided something about us."""
    return isinstance(error, ConsulUnreachable) or (isinstance(error, ConsulRefused) and error.status >= 500)


def refusal(
    consul: Consul, token: Token, what: str, status: int, body: str, datacenter: str | None
) -> ConsulError | None:
    """The error for the answer to `what`, a method and a path; None when it is one to work with, as a 404 is."""
    text = body.strip()[:300]
    agent = f"Consul at {consul.url}"
    if status == 403:
        denied = f"{agent} answers 403 to {what}: {text or 'Permission denied'}"
        return ConsulPermissionDenied(f"{denied}; {advice(token, text)}")
    if "No path to datacenter" in text:
        hint = "check Consul(datacenter=…), CONFIGS_DATACENTER, or the datacenters that the service is looked for in"
        return ConsulRefused(f"{agent} knows no datacenter {datacenter!r}: {hint}", status)
    if "Consul Enterprise feature" in text:
        hint = "leave out Consul(namespace=…, partition=…), CONSUL_NAMESPACE and CONSUL_PARTITION"
        return ConsulRefused(
            f"{agent} is not Consul Enterprise, which alone has namespaces and partitions: {hint}", status
        )
    if "HTTP request to an HTTPS server" in text:
        return ConsulRefused(f"{agent} speaks only TLS there: make it https:// in the address", status)
    if status >= 300 and status != 404:
        return ConsulRefused(f"{agent} answers {status} to {what}: {text}", status)
    return None


def advice(token: Token, body: str) -> str:
    """What to do about a 403 with this body."""
    held = f"the token in {token.path!r}" if token.path else "the ACL token"
    places = "Consul(token=…), CONFIGS_TOKEN or CONSUL_HTTP_TOKEN"
    if not unknown_token(body):
        return f"{held} may not do this: check " + ("its policies" if token.path else f"its policies, and {places}")
    todo = "write a new one there, it is read at once" if token.path else f"set a new one with {places}"
    return f"{held} has expired or was deleted: {todo}"
