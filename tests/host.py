"""The host of the tests' own live environment, a node container: commands on it, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import docker
import httpx2
from docker.models.containers import Container

from tests.live import inside

# For `sh -c BESIDE sh CONTAINER ARGUMENTS...`, as root on a host: Python of the container's image, in its
# network, with its settings and secrets, as its user, with memory of its own: a program that runs inside the
# container and asks for more than the service leaves free has the service killed.
BESIDE = """
beside=$1; shift
told() { docker inspect --format "$1" "$beside"; }
told '{{range .Config.Env}}{{println .}}{{end}}' | docker run --rm --interactive --env-file /dev/stdin \\
    --network "container:$beside" --volumes-from "$beside:ro" --user "$(told '{{.Config.User}}')" \\
    --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --memory 256m \\
    --log-driver none --pull never "$(told '{{.Image}}')" python -c "$@"
"""


# A question that cannot be asked yet, or whose answer is not whole.
NO_ANSWER = (AssertionError, OSError, LookupError, ValueError, httpx2.HTTPError, docker.errors.APIError)


class Node:
    """The host's container: commands in it as root, and its own restart."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def container(self) -> Container:
        return docker.from_env().containers.get(self.name)

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output and error of a command on the host."""
        code, text = inside(self.container, *command)
        assert not check or code == 0, f"{' '.join(command)}: {code}: {text}"
        return text

    def start(self, *command: str) -> None:
        """A command that goes on by itself."""
        self.container.exec_run(list(command), detach=True)

    def service(self, name: str) -> str:
        """The container of a service of the application, on the host."""
        wanted = f"label=com.docker.compose.service={name}"
        return self.run("docker", "ps", "--all", "--quiet", "--filter", wanted).split()[0]

    def inspect(self, container: str, what: str) -> str:
        return self.run("docker", "inspect", "--format", what, container).strip()

    def beside(self, service: str, program: str, *arguments: str) -> str:
        """What a Python program says that runs beside the service's container."""
        return self.run("sh", "-c", BESIDE, "sh", self.service(service), program, *arguments)

    def healthy(self, service: str) -> bool:
        """Running and healthy; also when the container has been made anew meanwhile."""
        state = self.inspect(self.service(service), "{{.State.Status}} {{.State.Health.Status}}")
        return state == "running healthy"


def until(true: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for it; a question that cannot be asked yet is one whose answer is no."""
    deadline = time.monotonic() + seconds
    problem: object = "never"
    while time.monotonic() < deadline:
        try:
            if true():
                return
            problem = "no"
        except NO_ANSWER as error:
            problem = error
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds} s ({problem})")
