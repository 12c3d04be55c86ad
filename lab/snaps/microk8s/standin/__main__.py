"""`microk8s COMMAND`, and what snapd calls: `hook NAME`, `daemon NAME`."""

from __future__ import annotations

import os
import sys

from . import daemons, launch, node
from .commands import Microk8s


def main(words: list[str]) -> int:
    match words:
        case ["daemon", name]:
            daemons.run(node.here(), name)
            return 0
        case ["hook", "install"]:
            return launch.install(node.here())
    if os.geteuid() != 0:
        print("Insufficient permissions to access MicroK8s.\nYou can either try again with sudo")
        return 1
    return Microk8s(node.here(), node.Systemd()).run(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
