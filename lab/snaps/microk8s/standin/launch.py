"""The launch configuration: the first of three files that is there, read once, when the snap is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .node import Node

FILES = (
    "etc/microk8s.yaml",
    "root/snap/microk8s/common/.microk8s.yaml",
    "var/snap/microk8s/common/.microk8s.yaml",
)
DEFAULT = {"version": "0.1.0", "addons": [{"name": "dns"}]}
KNOWN = {
    "version", "persistentClusterToken", "join", "extraSANs", "extraKubeAPIServerArgs", "extraKubeProxyArgs",
    "extraKubeControllerManagerArgs", "extraKubeSchedulerArgs", "extraKubeletArgs", "extraContainerdArgs",
    "extraContainerdEnv", "extraDqliteArgs", "extraDqliteEnv", "extraCNIEnv", "extraConfigFiles",
    "containerdRegistryConfigs", "addons", "addonRepositories",
}  # fmt: skip


def install(node: Node, root: Path = Path("/")) -> int:
    """What the install hook does; its status 1 fails the installation."""
    config: dict[str, Any] = DEFAULT
    for file in (root / each for each in FILES):
        if file.is_file():
            print(f"Found config file {file}, will use to initialize cluster.")
            try:
                config = load(file.read_text())
            except ValueError as error:
                print(f"failed to load configuration file: {error}")
                return 1
            break
    node.install(config)
    return 0


def load(text: str) -> dict[str, Any]:
    """A configuration; unknown keys are only warned about. Raises ValueError.

    The node's Python has no YAML, so it must be JSON, which is YAML too.
    """
    config = json.loads(text)
    if not isinstance(config, dict) or not str(config.get("version", "")).startswith("0."):
        raise ValueError("no version")
    for key in sorted({*config} - KNOWN):
        print(f"WARNING: unknown key {key}")
    if len(config.get("persistentClusterToken", "x" * 32)) < 32:
        raise ValueError("persistentClusterToken must be 32 characters long")
    return config
