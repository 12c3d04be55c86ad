"""Every service's image in a registry, for releases: python -m lab.publish REGISTRY TAG > images.json.

Each stands on upstream's bases instead of the mirror's, all on what the bases' tags mean at the beginning.
Prints name -> `REGISTRY/NAME:TAG@sha256:...`, as the variable `app_compose_images` takes it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostwright import __version__, paths
from hostwright.errors import HostwrightError
from lab import images
from lab.parts import run

BASES = {"python": "python:3.13-slim", "nginx": "nginx:1.26"}


def publish(
    place: str, tag: str, context: Path, bases: Mapping[str, str] = BASES, arguments: Sequence[str] = ()
) -> dict[str, str]:
    """`context` is a folder like services/; `arguments` are more of its Dockerfiles' than they need."""
    pinned = {name: _digest(reference, "pull") for name, reference in bases.items()}
    held = {}
    for each in images.described(context):
        name = f"{place}/{each['name']}:{tag}"
        images.build_service(
            context, each, pinned, name, f"VERSION={__version__}", f"REVISION={tag}", *arguments
        )
        held[str(each["name"])] = f"{name}@{_digest(name).partition('@')[2]}"
    return held


def _digest(reference: str, *first: str) -> str:
    """`NAME@sha256:...` of an image that the registry gave or took."""
    for verb in first:
        run("docker", verb, "--quiet", reference)
    repository = reference.partition("@")[0].rpartition(":")[0]
    asked = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", reference]
    found: list[str] = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    return next(each for each in found if each.partition("@")[0] == repository)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.publish", description=__doc__)
    parser.add_argument("registry", help="as in ghcr.io/hostwright; docker is logged in there")
    parser.add_argument("tag", help="as in v0.1.0")
    given = parser.parse_args()
    try:
        held = publish(given.registry, given.tag, paths.toolkit() / "services")
    except HostwrightError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(json.dumps(held, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
