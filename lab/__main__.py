"""The lab from the command line: python -m lab build|serve|stop|status [--only PART]."""

from __future__ import annotations

import argparse
import sys

import lab
from hostwright.errors import HostwrightError
from lab.mirror import PARTS
from lab.servers import status, stop


def main() -> int:
    """Run one command; errors are shown as messages and give their own exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="The mirror of this machine.")
    parser.add_argument("command", choices=("build", "serve", "stop", "status"))
    parser.add_argument(
        "--only", choices=PARTS, action="append", default=[], help="only this part (repeatable)"
    )
    parser.add_argument("--qcow2", action="store_true", help="the virtual machine's disk too")
    parser.add_argument("--kubernetes", action="store_true", help="a real Kubernetes too, and what it runs")
    parser.add_argument("--components", action="store_true", help="images of what watches applications too")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "build":
                lab.ensure_requirements()
                more = {name: getattr(arguments, name) for name in ("qcow2", "kubernetes", "components")}
                print(lab.build(only=arguments.only, **more).lock)
            case "serve":
                print(lab.serve().url)
            case "stop":
                stop()
            case "status":
                for name, state in status().items():
                    print(f"{name:10} {state}")
    except HostwrightError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
