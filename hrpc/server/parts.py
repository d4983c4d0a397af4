"""What one life of a server is made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hrpc import _runtime, leaving
from hrpc._runtime import Hook
from hrpc.abc import Registration
from hrpc.configs.center import Configs
from hrpc.health.state import Health
from hrpc.health.state import slot as health_slot
from hrpc.log.audit import AuditLog
from hrpc.metrics.calls import Calls
from hrpc.metrics.measures import Measures
from hrpc.option import Settings
from hrpc.rpc import outgoing
from hrpc.rpc.breaker import Breakers
from hrpc.rpc.guard.guards import Guards
from hrpc.rpc.outgoing import Outgoing
from hrpc.rpc.recorder import Recorder
from hrpc.server import probing, served
from hrpc.server.control import Control
from hrpc.server.hosting.services import Services
from hrpc.server.plugins.rotation import Rotation
from hrpc.server.pools import Pools
from hrpc.server.progress import StartProgress
from hrpc.server.queues import Queues
from hrpc.server.watch import Watch
from hrpc.service.connections import Connections
from hrpc.service.directory import Directory
from hrpc.tasks import Background

if TYPE_CHECKING:
    from hrpc.consul import Client
    from hrpc.server.workers.link import Link
    from hrpc.server.workers.workers import Workers
    from hrpc.tls.files import CertificateFiles


class Parts:
    """The parts of one life, made before it starts; the steps of its start fill in those that are None until then."""

    def __init__(self, settings: Settings, recorder: Recorder) -> None:
        self.settings = settings
        self.name = settings.server_name
        self.recorder = recorder.copy() if settings.has_services else recorder
        self.runtime = _runtime.Runtime(self.name, settings.stack_skip)
        self.runtime.prefix = settings.kv_prefix
        self.progress = StartProgress(self.name)
        self.health = Health(self.name, _runtime.early_health_checks)
        self.health.progress, self.health.done = self.progress.__str__, lambda: self.progress.done
        self.runtime.values[health_slot] = self.health
        self.control = Control(self.name)
        probing.answer(self.control, self.health)
        self.calls = Calls(settings.metrics_buckets, examples=settings.metrics_port is not None)
        self.guards = Guards(settings)
        self.breakers = None if settings.breaker is None else Breakers(settings.breaker)
        self.outgoing = Outgoing(self.name, self.breakers)
        self.runtime.values[outgoing.slot] = self.outgoing
        self.draining = leaving.Draining(settings.stop.grace)
        self.runtime.values[leaving.slot] = self.draining
        self.pools = Pools(self.runtime, self.health)
        self.measures = Measures()
        self.watch = Watch()
        self.hurry = asyncio.Event()
        """Set when the stop is to wait for nobody."""
        self.served = served.Served(settings)
        self.runtime.values[served.slot] = self.served
        self.queues = Queues(settings, self.runtime, self.health)
        hosted = settings.hosted._replace(services=(*settings.hosted.services, *self.queues.consumers))
        self.hosted = Services(hosted, settings.stop.step_limit, self.hurry)
        self.audit: AuditLog | None = None
        self.consul: Client | None = None
        self.configs: Configs | None = None
        self.connections: Connections | None = None
        self.directory: Directory | None = None
        self.background: Background | None = None
        self.entry: Registration | None = None
        """What is told of the service to those who list it."""
        self.when_drained: list[Hook] = []
        """What plugins want to be run when the last call has ended."""
        self.rotation = Rotation(self.health, settings.stop.step_limit)
        self.port: int | None = None
        self.health_port: int | None = None
        self.metrics_port: int | None = None
        self.address_origin = ""
        """What says which address is registered."""
        self.certificates: dict[str, CertificateFiles] = {}
        """By the end of a connection, ``server`` or ``client``, at which they are shown."""
        self.workers: Workers | None = None
        """The processes that serve, in their master."""
        self.link: Link | None = None
        """The line to the master, in a worker."""
