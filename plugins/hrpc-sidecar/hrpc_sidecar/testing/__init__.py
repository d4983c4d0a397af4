"""A sidecar-agent for tests and for development: it registers with Consul, and does wrong what it is told to.

::

    async with SidecarAgent(consul="127.0.0.1:8500") as agent:
        agent.fail("/register", status=502, code="UPSTREAM_DOWN")
        server = hrpc.new_server(..., hrpc_sidecar.with_sidecar(agent.base_url))

``python -m hrpc_sidecar.testing --consul 127.0.0.1:8500`` runs one.
"""

from hrpc_sidecar.testing.agent import Received, SidecarAgent

__all__ = ["Received", "SidecarAgent"]
