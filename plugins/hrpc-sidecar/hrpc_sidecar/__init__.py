"""Registers a service with the sidecar-agent of its machine, which talks to Consul on its behalf."""

from hrpc_sidecar.agent import Agent
from hrpc_sidecar.client import ApiClient
from hrpc_sidecar.controller import Controller
from hrpc_sidecar.errors import (
    AgentRunError,
    FrameTooLarge,
    RegisterReplayError,
    SidecarApiError,
    SidecarError,
    WatchError,
    WatchEventParseError,
    WatchHttpStatusError,
    WatchSilent,
    WatchStreamClosed,
    WatchUnreachable,
    WatchUrlRequired,
)
from hrpc_sidecar.events import ConnectionEvent
from hrpc_sidecar.node import App, Kernel, Service, ServiceNode, ServiceOptions, method_paths
from hrpc_sidecar.plugin import Sidecar, status, with_sidecar
from hrpc_sidecar.runner import Runner
from hrpc_sidecar.settings import SidecarOptions, SidecarSettings
from hrpc_sidecar.status import Status
from hrpc_sidecar.watch import WatchSource

__all__ = [
    "Agent",
    "AgentRunError",
    "ApiClient",
    "App",
    "ConnectionEvent",
    "Controller",
    "FrameTooLarge",
    "Kernel",
    "RegisterReplayError",
    "Runner",
    "Service",
    "ServiceNode",
    "ServiceOptions",
    "Sidecar",
    "SidecarApiError",
    "SidecarError",
    "SidecarOptions",
    "SidecarSettings",
    "Status",
    "WatchError",
    "WatchEventParseError",
    "WatchHttpStatusError",
    "WatchSilent",
    "WatchSource",
    "WatchStreamClosed",
    "WatchUnreachable",
    "WatchUrlRequired",
    "method_paths",
    "status",
    "with_sidecar",
]
