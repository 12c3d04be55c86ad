"""The node as the lab builds it: it answers as openSUSE Leap, and takes only what its mirror has signed."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lab
from lab import node, opensuse, rpm

# As the container driver starts it: all of root's rights but one that a nested engine's own root may lack.
ALLOWED = (
    "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined", "--security-opt=systempaths=unconfined", "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs=/run", "--tmpfs=/tmp", "--stop-signal=SIGRTMIN+3",
    "--volume=/var/lib/docker", "--volume=/var/lib/containerd",
)  # fmt: skip

Shell = Callable[..., str]


@pytest.fixture(scope="module")
def mirror() -> lab.Mirror:
    return lab.build(only=("node", "packages", "images"))


@pytest.fixture(scope="module")
def shell(mirror: lab.Mirror) -> Iterator[Shell]:
    """Runs a script in a node of this module's own that knows the mirror's certificate and nothing else."""
    with _Started() as run:
        run("cat > /etc/pki/trust/anchors/lab.pem && update-ca-certificates", stdin=mirror.ca_pem)
        yield run


class _Started:
    """A node for as long as a block lasts, and how to run scripts in it."""

    def __enter__(self) -> Shell:
        self.name = f"lab-test-{uuid.uuid4().hex[:8]}"
        subprocess.run(
            ["docker", "run", "--detach", "--name", self.name, *ALLOWED, node.IMAGE],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.run("systemctl is-system-running --wait", tries=50)
        return self.run

    def __exit__(self, *_: object) -> None:
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], check=True, capture_output=True)

    def run(self, script: str, stdin: str = "", tries: int = 1) -> str:
        command = ["docker", "exec", "--interactive", self.name, "bash", "-euc", script]
        for _ in range(tries - 1):
            if subprocess.run(command, input=stdin, text=True, capture_output=True).returncode == 0:
                break
            time.sleep(0.2)
        done = subprocess.run(command, input=stdin, text=True, capture_output=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def test_it_answers_as_leap_and_says_what_it_is(shell: Shell) -> None:
    words = shell(". /etc/os-release; echo $ID $VERSION_ID $VARIANT_ID; getenforce; zypper --version").split()
    assert words[:5] == ["opensuse-leap", "16.0", "lab", "Disabled", "zypper"]
    hidden = shell("ls /usr/bin/apt* /usr/bin/dpkg* /etc/apt /etc/debian_version 2>/dev/null || true")
    assert hidden == ""
    assert shell("zypper --non-interactive lr || true").startswith("Warning: No repositories")
    assert shell("rpm -q gpg-pubkey || true") == "package gpg-pubkey is not installed"


def test_the_package_database_knows_the_base_and_finds_nothing_amiss(shell: Shell) -> None:
    names = " ".join(each.name for each in opensuse.base())
    assert "not installed" not in shell(f"rpm -q {names}")
    assert shell("rpm -qf /usr/sbin/sshd").startswith("openssh-server-")
    assert shell("rpm -Va") == ""


def test_no_two_nodes_share_a_host_key(shell: Shell) -> None:
    with _Started() as other:
        key = "cat /etc/ssh/ssh_host_ed25519_key.pub"
        assert shell(key).split()[1] != other(key).split()[1]
        ids = {run("cat /etc/machine-id") for run in (shell, other)}
        assert len(ids) == 2
        assert all(len(each) == 32 for each in ids)


def _know(shell: Shell, mirror: lab.Mirror) -> None:
    """The repository, where nobody has made it known yet."""
    shell(f"zypper lr lab > /dev/null 2>&1 || zypper --non-interactive addrepo {mirror.url}/rpm/ lab")


def _trust(shell: Shell) -> None:
    """Its key."""
    shell("cat > /tmp/key && rpm --import /tmp/key", stdin=rpm.public_key())


def test_what_the_mirror_has_not_signed_is_refused(shell: Shell, mirror: lab.Mirror) -> None:
    _know(shell, mirror)
    shell("! zypper --non-interactive install jq")
    assert shell("rpm -q jq || true") == "package jq is not installed"

    _trust(shell)
    shell("zypper --non-interactive install jq")
    shell(f"curl -sSf {mirror.url}/rpm/{_file('unzip')} > /tmp/unzip.rpm; echo spoilt >> /tmp/unzip.rpm")
    shell("! zypper --non-interactive install /tmp/unzip.rpm")
    assert shell("rpm -q unzip || true") == "package unzip is not installed"


@pytest.mark.slow
def test_a_docker_host_comes_out_of_the_repository(shell: Shell, mirror: lab.Mirror) -> None:
    _know(shell, mirror)
    _trust(shell)
    shell("zypper --non-interactive install docker docker-compose firewalld chrony logrotate audit")
    for name in ("docker", "firewalld", "chrony", "polkit", "logrotate"):
        package = opensuse.table()[name]
        assert shell(f"rpm -q {package.name}")
        for path in package.paths:
            shell(f"test -e {path}")
        for user in package.users:
            shell(f"getent passwd {user}")
        for group in package.groups:
            shell(f"getent group {group}")
    assert shell("systemctl is-enabled docker firewalld chronyd || true").split() == ["disabled"] * 3
    shell("systemctl enable --now docker firewalld chronyd logrotate.timer; systemctl start logrotate")
    assert shell("systemctl is-active docker firewalld chronyd polkit").split() == ["active"] * 4
    assert shell("firewall-cmd --state") == "running"
    assert shell("docker info --format '{{.Driver}}'") == "overlay2"
    assert shell("ps -o user= -C chronyd").split()[0] == "chrony"
    assert shell("systemctl --failed --no-legend") == ""

    trusted = f"/etc/docker/certs.d/{mirror.registry}"
    shell(f"mkdir -p {trusted}; cat > {trusted}/ca.crt", stdin=mirror.ca_pem)
    assert "nginx version" in shell(f"docker run --rm {mirror.images['nginx']} nginx -v 2>&1")
    shell("docker compose version; docker buildx version")


@pytest.mark.slow
def test_removing_a_package_ends_its_service(shell: Shell, mirror: lab.Mirror) -> None:
    _know(shell, mirror)
    _trust(shell)
    shell("zypper --non-interactive install chrony && systemctl enable --now chronyd")
    assert shell("systemctl is-active chronyd") == "active"
    shell("zypper --non-interactive remove chrony")
    assert shell("systemctl is-active chronyd || true") == "inactive"
    assert shell("pgrep chronyd || true") == ""


@pytest.mark.slow
def test_the_disk_boots_and_takes_what_cloud_init_gives_it(mirror: lab.Mirror, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    disk, seed = tmp_path / "disk.qcow2", tmp_path / "seed.iso"
    overlay = ("-F", "qcow2", "-b", mirror.qcow2, disk, "8G")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *overlay], check=True)
    (tmp_path / "meta-data").write_text("instance-id: one\nlocal-hostname: leap\n")
    key = (tmp_path / "key.pub").read_text().strip()
    (tmp_path / "user-data").write_text(
        f'#cloud-config\nusers: [{{name: opensuse, ssh_authorized_keys: ["{key}"]}}]\n'
    )
    data = [tmp_path / name for name in ("user-data", "meta-data")]
    subprocess.run(["genisoimage", "-quiet", "-o", seed, "-V", "cidata", "-J", "-r", *data], check=True)
    machine = subprocess.Popen(
        [
            "nice", "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "Nehalem,-cx16",
            "-smp", "2", "-m", "1024", "-display", "none", "-serial", f"file:{tmp_path / 'console'}",
            "-drive", f"file={disk},if=virtio,cache=unsafe", "-drive", f"file={seed},media=cdrom,readonly=on",
            "-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:22922-:22", "-device", "virtio-net-pci,netdev=net",
        ]
    )  # fmt: skip
    ssh: list[str | Path] = [
        "ssh", "-p", "22922", "-i", tmp_path / "key", "-o", "StrictHostKeyChecking=no",
        "-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "ConnectTimeout=10", "opensuse@127.0.0.1",
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + 1800  # emulated, beside other tests
        while subprocess.run([*ssh, "true"], capture_output=True).returncode and time.monotonic() < deadline:
            time.sleep(2)
        asked = "sudo systemctl is-system-running --wait; hostname; df --output=size /; ip -6 -o addr"
        answer = subprocess.run([*ssh, asked], capture_output=True, text=True, timeout=900).stdout.split()
        unwell = subprocess.run([*ssh, "systemctl --failed"], capture_output=True, text=True)
        assert answer[:2] == ["running", "leap"], unwell.stdout
        assert int(answer[3]) > 7_000_000, "the root file system fills the larger disk"
        assert "fec0::5054:ff:fe12:3456/64" in answer, "SLAAC by the MAC"
    finally:
        machine.terminate()
        machine.wait(60)


def _file(name: str) -> str:
    return next(each.name for each in _repository().glob(f"{name}-[0-9]*.rpm"))


def _repository() -> Path:
    from lab import packages

    return packages.repository()
