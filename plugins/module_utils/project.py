"""A Compose project on its host: what its folder says, what the engine has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.hostwright.hostwright.plugins.module_utils.releases import ours

SPARE = "spare"  # profile of what runs only while another is made anew
REVISION = "SELECT version_num FROM alembic_version"


class Project:
    """Questions to Compose and the engine; a command that fails ends the module with its own words."""

    def __init__(self, module: Any, folder: str) -> None:
        self.module = module
        self.folder = folder
        self.docker = module.get_bin_path("docker", required=True)
        config = json.loads(self.compose("--profile", SPARE, "config", "--format", "json"))
        self.name: str = config["name"]
        self.services: dict = config["services"]

    def compose(self, *arguments: str) -> str:
        return self.run(self.docker, "compose", "--project-directory", self.folder, *arguments)

    def run(self, *command: str) -> str:
        code, out, err = self.module.run_command([*command])
        if code != 0:
            self.module.fail_json(msg=(err or out).strip(), cmd=" ".join(command), rc=code)
        return out

    def containers(self) -> dict:
        """Service -> what the engine says of its container."""
        label = f"label=com.docker.compose.project={self.name}"
        found = self.run(self.docker, "ps", "--all", "--quiet", "--filter", label).split()
        if not found:
            return {}
        told = json.loads(self.run(self.docker, "inspect", "--type", "container", *found))
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in told}

    def facts(self) -> dict:
        """What a release is told apart by, beyond its files: images, secrets by path, databases."""
        images = {
            name: {"reference": each["Config"]["Image"], "id": each["Image"]}
            for name, each in sorted(self.containers().items())
        }
        secrets = ours(Path(self.folder), secret=True)
        return {"images": images, "secrets": secrets, "databases": self.databases()}

    def databases(self) -> dict:
        """STORE/DATABASE -> revision of its schema, of those that have one."""
        found, seen = {}, self.containers()
        for store, definition in self.services.items():
            declared = (definition.get("environment") or {}).get("DATABASES", "").split()
            for name in (each.partition("=")[0] for each in declared):
                ask = ["psql", "-At", "-U", "postgres", "-h", "/run/postgresql", "-d", name, "-c", REVISION]
                if store not in seen:
                    continue
                code, out, _ = self.module.run_command([self.docker, "exec", seen[store]["Id"], *ask])
                if code == 0:
                    found[f"{store}/{name}"] = ",".join(sorted(out.split()))
        return found

    def images(self, references: set) -> dict:
        """Reference -> id, of those that are here."""
        found = {}
        for each in references:
            ask = [self.docker, "image", "inspect", "--format", "{{.Id}}", each]
            code, out, _ = self.module.run_command(ask)
            if code == 0:
                found[each] = out.strip()
        return found
