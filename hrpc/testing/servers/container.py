"""A server in a container, through testcontainers."""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hrpc.testing.servers.errors import ServerFailed

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_PROBE_LIMIT = 2
_STOP_LIMIT = 30


@functools.cache
def local_images() -> frozenset[str]:
    """The tags of the images that can be used here without pulling anything; empty without a usable engine.

    Usable is an engine on this Linux machine (the servers share its network, so that Consul's checks reach a service on
    127.0.0.1) that also has the image of testcontainers' reaper, which removes containers when this process is killed.
    """
    if sys.platform != "linux":
        return frozenset()
    try:
        import docker  # type: ignore[import-untyped, unused-ignore]
        from docker.errors import DockerException  # type: ignore[import-untyped, unused-ignore]
        from requests.exceptions import RequestException  # type: ignore[import-untyped, unused-ignore]
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.docker_client import get_docker_host
    except ModuleNotFoundError:
        return frozenset()
    host = get_docker_host() or "unix:///var/run/docker.sock"
    if not host.startswith("unix://") or not _accepts(host.removeprefix("unix://")):
        return frozenset()
    try:
        client = docker.from_env(timeout=_PROBE_LIMIT)
        tags = frozenset(tag for image in client.images.list() for tag in image.tags)
        client.close()
    except (DockerException, RequestException):
        return frozenset()
    return tags if testcontainers_config.ryuk_disabled or testcontainers_config.ryuk_image in tags else frozenset()


def _accepts(path: str) -> bool:
    # The docker package leaves a socket open when it is refused, which is an error where warnings are errors.
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_LIMIT)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


class Container:
    """One container at a time; a stop and a kill keep it with its data, `wipe` drops it."""

    def __init__(self, image: str, make: Callable[[], DockerContainer]) -> None:
        self.source = f"container {image}"
        self._make = make
        self._container: DockerContainer | None = None

    def start(self) -> None:
        """Makes and starts the container, or starts the one that was stopped."""
        if self._container is None:
            self._container = self._make()
            self._container.start()
        elif self.running():
            raise ServerFailed(f"{self.source} runs already: stop or kill it before it is started again")
        else:
            self._container.get_wrapped_container().start()

    def stop(self) -> None:
        """SIGTERM, and waits for the end; the engine kills it after 30 s."""
        if self._container and self.running():
            self._container.get_wrapped_container().stop(timeout=_STOP_LIMIT)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self._container and self.running():
            inner = self._container.get_wrapped_container()
            inner.kill()
            inner.wait(timeout=_STOP_LIMIT)

    def wipe(self) -> None:
        """Removes the container and its volumes."""
        if self.running():
            raise ServerFailed(f"{self.source} runs: stop or kill it before its data are wiped")
        self.remove()

    def remove(self) -> None:
        """Removes the container and its volumes, also while it runs."""
        if self._container:
            self._container.stop(force=True, delete_volume=True)
            self._container = None

    def running(self) -> bool:
        """Whether the container runs."""
        if self._container is None:
            return False
        self._container.reload()
        return self._container.status == "running"

    def log(self) -> str:
        """The last lines of its output."""
        if self._container is None:
            return ""
        lines: bytes = self._container.get_wrapped_container().logs(tail=30)
        return lines.decode(errors="replace")


@contextmanager
def container(image: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Container]:
    """A container of this image on the machine's own network, not started; removed at the end."""
    from testcontainers.core.container import DockerContainer

    def make() -> DockerContainer:
        made = DockerContainer(image).with_command(list(command)).with_envs(**environment)
        return made.with_kwargs(network_mode="host")

    backend = Container(image, make)
    try:
        yield backend
    finally:
        backend.remove()
