"""Node containers through the Docker engine: systemd first, on a network of their environment's own.

Everything made here carries labels. What carries an environment's label is adopted when a killed run left it
behind; what has the name but not the label is a stranger's and is never touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from hostwright.errors import BadInput, Failure

ENVIRONMENT = "hostwright.environment"
HOST = "hostwright.host"
SPEC = "hostwright.spec"

# Not `mount`: it follows from the name, and nodes that were made before it was a property are none the worse.
REPLACING = ("name", "image", "network", "address", "address6", "mac", "volume")
UPDATING = ("memory", "cpus", "user", "publicKey")

# What cloud-init does for a virtual machine. An SSH server does not start without host keys, which no image
# should carry; most make their own.
PREPARE = """
set -eu
id -u "$LOGIN" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$LOGIN"
home=$(getent passwd "$LOGIN" | cut -d: -f6)
install -d -m 700 -o "$LOGIN" -g "$(id -gn "$LOGIN")" "$home/.ssh"
printf '%s\\n' "$KEY" > "$home/.ssh/authorized_keys"
chown "$LOGIN:$(id -gn "$LOGIN")" "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"
install -d -m 750 /etc/sudoers.d
printf '%s ALL=(ALL) NOPASSWD: ALL\\n' "$LOGIN" > /etc/sudoers.d/90-hostwright
chmod 440 /etc/sudoers.d/90-hostwright
for _ in $(seq 150); do
  case $(systemctl is-system-running --wait 2>/dev/null) in running|degraded) break ;; esac
  sleep 0.2
done
if ! systemctl is-active --quiet sshd.service && ! systemctl is-active --quiet ssh.service; then
  ssh-keygen -A >/dev/null
  systemctl start sshd.service 2>/dev/null || systemctl start ssh.service
fi
"""


def create_network(props: Mapping[str, Any]) -> str:
    """Make or adopt the network of `props` (environment, name, bridge, cidr, cidr6 or None); its id."""
    engine = connect()
    pools = [IPAMPool(subnet=props["cidr"])]
    if props.get("cidr6"):
        pools.append(IPAMPool(subnet=props["cidr6"]))
    for network in engine.networks.list(names=[props["name"]]):
        if network.name != props["name"]:
            continue
        _claim("network", props, network.attrs.get("Labels"))
        subnets = [pool["Subnet"] for pool in network.attrs["IPAM"]["Config"]]
        if subnets == [pool["Subnet"] for pool in pools]:
            return str(network.id)
        network.remove()
    try:
        made = engine.networks.create(
            props["name"],
            driver="bridge",
            ipam=IPAMConfig(pool_configs=pools),
            enable_ipv6=bool(props.get("cidr6")),
            labels={ENVIRONMENT: props["environment"]},
            options={"com.docker.network.bridge.name": props["bridge"]},
            check_duplicate=True,
        )
    except APIError as error:
        if "overlaps" not in str(error):
            raise
        raise BadInput(
            f"the network {props['cidr']} overlaps one that this machine has already",
            where="hostwright:network.cidr",
            fix="choose another private network; `docker network ls` and `ip route` show those in use",
        ) from None
    return str(made.id)


def network_exists(identity: str) -> bool:
    """Whether the engine still has the network."""
    try:
        connect().networks.get(identity)
    except NotFound:
        return False
    return True


def delete_network(identity: str, props: Mapping[str, Any]) -> None:
    """Remove the network if it is still there and ours."""
    try:
        network = connect().networks.get(identity)
    except NotFound:
        return
    _claim("network", props, network.attrs.get("Labels"))
    network.remove()


def create_volume(props: Mapping[str, Any]) -> str:
    """Make or adopt the volume of `props` (environment, name, host); its name, which is its id."""
    engine = connect()
    try:
        volume = engine.volumes.get(props["name"])
    except NotFound:
        labels = {ENVIRONMENT: props["environment"], HOST: props["host"]}
        volume = engine.volumes.create(props["name"], labels=labels)
    _claim("volume", props, volume.attrs.get("Labels"))
    return str(volume.id)


def volume_exists(identity: str) -> bool:
    """Whether the engine still has the volume."""
    try:
        connect().volumes.get(identity)
    except NotFound:
        return False
    return True


def delete_volume(identity: str, props: Mapping[str, Any]) -> None:
    """Remove the volume, and the data in it, if it is still there and ours."""
    try:
        volume = connect().volumes.get(identity)
    except NotFound:
        return
    _claim("volume", props, volume.attrs.get("Labels"))
    volume.remove()


def create_node(props: Mapping[str, Any]) -> str:
    """Make or adopt, and start, the node of `props`; its id.

    `props`: environment, name, image, network, address, address6 or None, mac, volume and mount (its place in
    the node), memory (MiB), cpus, user, publicKey. Raises BadInput when the name is a stranger's or the image
    cannot be had.
    """
    engine = connect()
    container: Container | None = None
    try:
        container = engine.containers.get(props["name"])
    except NotFound:
        pass
    else:
        _claim("container", props, container.labels)
        if container.labels.get(SPEC) != _spec(props):
            container.remove(force=True, v=True)
            container = None
    if container is None:
        container = engine.containers.get(_create(engine, props))
    container.start()
    _prepare(container, props)
    return str(container.id)


def node_state(identity: str) -> str:
    """`running`, another state of the engine's, or an empty text when there is no such node any more."""
    try:
        return str(connect().containers.get(identity).status)
    except NotFound:
        return ""


def update_node(identity: str, props: Mapping[str, Any]) -> None:
    """Change size or login in place, and start the node when it stands still."""
    engine = connect()
    limits = _limits(props)
    engine.api.update_container(
        identity,
        mem_limit=limits["Memory"],
        memswap_limit=limits["MemorySwap"],
        cpu_period=limits["CpuPeriod"],
        cpu_quota=limits["CpuQuota"],
    )
    container = engine.containers.get(identity)
    container.start()
    _prepare(container, props)


def delete_node(identity: str, props: Mapping[str, Any]) -> None:
    """Stop the node as a machine is shut down, then remove it; its data volume is another resource."""
    try:
        container = connect().containers.get(identity)
    except NotFound:
        return
    _claim("container", props, container.labels)
    container.stop(timeout=30)
    container.remove(force=True, v=True)


def claim(
    environment: str,
    containers: Iterable[str] = (),
    volumes: Iterable[str] = (),
    networks: Collection[str] = (),
) -> None:
    """Raise BadInput when one of the names is taken by what is not the environment's."""
    engine = connect()
    for name in containers:
        with suppress(NotFound):
            _claim(
                "container", {"environment": environment, "name": name}, engine.containers.get(name).labels
            )
    for name in volumes:
        with suppress(NotFound):
            labels = engine.volumes.get(name).attrs.get("Labels")
            _claim("volume", {"environment": environment, "name": name}, labels)
    for network in engine.networks.list(names=list(networks)):
        if network.name in networks:
            _claim("network", {"environment": environment, "name": network.name}, network.attrs.get("Labels"))


def sweep(environment: str, known: Collection[str]) -> list[str]:
    """Remove containers and networks with the environment's label that are not `known` by name; what went."""
    engine = connect()
    removed = []
    for container in engine.containers.list(all=True, filters=_marked(environment)):
        if container.name not in known:
            container.remove(force=True, v=True)
            removed.append(f"container {container.name}")
    for network in engine.networks.list(filters=_marked(environment)):
        if network.name not in known:
            network.remove()
            removed.append(f"network {network.name}")
    return removed


def sweep_data(environment: str) -> list[str]:
    """Remove the volumes with the environment's label; what went. No container may be using them any more."""
    removed = []
    for volume in connect().volumes.list(filters=_marked(environment)):
        volume.remove()
        removed.append(f"volume {volume.name}")
    return removed


def _marked(environment: str) -> dict[str, str | list[str] | bool]:
    return {"label": f"{ENVIRONMENT}={environment}"}


def connect() -> docker.DockerClient:
    """The engine that the operator's environment names. Raises Failure when it does not answer."""
    try:
        return docker.from_env(timeout=120)
    except DockerException as error:
        raise Failure(
            f"the Docker engine does not answer: {str(error).splitlines()[0]}",
            fix="start it, and be in its group; hostwright doctor says more",
        ) from None


def folder() -> Path | None:
    """Where the engine keeps everything; nowhere on this machine when it answers over the network."""
    engine = connect()
    local = engine.api.base_url == "http+docker://localhost"  # what the SDK calls a socket of this machine
    return Path(engine.info()["DockerRootDir"]) if local else None


def _claim(kind: str, props: Mapping[str, Any], labels: Mapping[str, str] | None) -> None:
    """Raise BadInput unless the labels say that the thing is of this environment."""
    if (labels or {}).get(ENVIRONMENT) != props["environment"]:
        raise BadInput(
            f"the {kind} {props['name']} exists already and is not of environment {props['environment']}",
            where=f"docker {kind} inspect {props['name']}",
            fix="choose another environment name, or remove it yourself if nobody needs it",
        )


def _spec(props: Mapping[str, Any]) -> str:
    """Digest of what a node is made of: two nodes that agree in it are interchangeable."""
    made_of = {name: props.get(name) for name in REPLACING}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _create(engine: docker.DockerClient, props: Mapping[str, Any]) -> str:
    api = engine.api
    _have_image(engine, props["image"])
    host = api.create_host_config(
        cap_add=["ALL"],
        # Not every machine may give it away (a container within a container lacks it), and no node needs it.
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        binds=["/sys/fs/cgroup:/sys/fs/cgroup:rw", f"{props['volume']}:{props['mount']}"],
        tmpfs={"/run": "exec,mode=755", "/tmp": "exec,mode=1777"},  # noqa: S108  (the node's own)
        restart_policy={"Name": "unless-stopped", "MaximumRetryCount": 0},
        network_mode=props["network"],
    )
    host.update(
        # The SDK has no word for systempaths=unconfined; these three are what it stands for.
        MaskedPaths=[],
        ReadonlyPaths=[],
        CgroupnsMode="host",
        **_limits(props),
    )
    endpoint = api.create_endpoint_config(
        ipv4_address=props["address"], ipv6_address=props.get("address6") or None
    )
    made = api.create_container(
        props["image"],
        name=props["name"],
        hostname=props["name"],
        labels={ENVIRONMENT: props["environment"], HOST: props["name"], SPEC: _spec(props)},
        stop_signal="SIGRTMIN+3",
        mac_address=props["mac"],
        host_config=host,
        networking_config={"EndpointsConfig": {props["network"]: endpoint}},
    )
    return str(made["Id"])


def _have_image(engine: docker.DockerClient, reference: str) -> None:
    try:
        engine.images.get(reference)
    except ImageNotFound:
        try:
            engine.images.pull(reference)
        except DockerException as error:
            raise BadInput(
                f"the node image {reference} is neither here nor to be had: {str(error).splitlines()[0]}",
                where="hostwright:container.image",
                fix="build the lab's (python -m lab build), or name an image that the engine can pull",
            ) from None


def _limits(props: Mapping[str, Any]) -> dict[str, int]:
    """Memory without swap, and processor time, as the engine counts them: bytes and microseconds."""
    memory = int(props["memory"]) * 2**20
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "CpuPeriod": 100_000,
        "CpuQuota": int(props["cpus"]) * 100_000,
    }


def _ended(container: Container, begun: int) -> bool:
    """Whether it does not run, or not the way it did: the engine starts it again and again."""
    container.reload()
    return container.status != "running" or bool(container.attrs["RestartCount"] != begun)


def _prepare(container: Container, props: Mapping[str, Any]) -> None:
    name = props["name"]
    container.reload()
    begun = container.attrs["RestartCount"]
    try:
        status, output = container.exec_run(
            ["sh", "-c", PREPARE], environment={"LOGIN": props["user"], "KEY": props["publicKey"]}
        )
    except APIError:
        if not _ended(container, begun):
            raise
        status, output = 1, b""
    if status == 0:
        return
    if _ended(container, begun):
        said = container.logs(tail=5).decode(errors="replace").strip()
        what = f"the node {name} ended as it started: {said or 'it said nothing'}"
        fix = "the image needs to run systemd, and that inotify instances: fs.inotify.max_user_instances"
    else:
        said = output.decode(errors="replace").strip() if isinstance(output, bytes) else ""
        what = f"preparing the node {name} failed: {said[-500:]}"
        fix = "the image needs systemd, sudo, useradd and an SSH server"
    raise Failure(what, where=f"docker logs {name}", fix=fix)
