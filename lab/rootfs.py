"""Root file systems everything in the lab stands on: one Debian userland, bootstrapped once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hostwright.errors import Failure
from lab import tree
from lab.parts import discard, part, run
from lab.tree import EPOCH, inside, pack, unpacked

SUITE = "trixie"
BASE = ("ca-certificates", "netbase", "tzdata")
NODE = (
    "systemd", "systemd-sysv", "systemd-resolved", "libpam-systemd", "dbus", "dbus-user-session", "udev",
    "kmod", "openssh-server", "sudo", "zypper", "rpm", "libzypp-bin", "gnupg", "python3", "python3-rpm",
    "iproute2", "iptables", "nftables", "iputils-ping", "procps", "e2fsprogs", "less", "curl", "openssl",
    "xz-utils", "zstd", "bzip2", "hostname", "selinux-utils", "policycoreutils",
)  # fmt: skip
MACHINE = ("linux-image-cloud-amd64", "initramfs-tools", "extlinux", "syslinux-common", "cloud-init")

_CODE = (Path(__file__), Path(tree.__file__))
_LEAN = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
    "force-unsafe-io",
)


def base() -> Path:
    """A tar of the plain userland (minbase with certificates and time zones) that all images share."""

    def make(target: Path) -> None:
        run(
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--format=tar",
            f"--include={','.join(BASE)}",
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--dpkgopt={option}" for option in _LEAN),
            SUITE,
            target,
            *sources(),
            env={"SOURCE_DATE_EPOCH": EPOCH},
        )

    return part("base.tar", make, Path(__file__))


def node() -> Path:
    """A tar of the userland with what every node has installed; apt still manages it."""
    return part("node.tar", _with(base, NODE), base().name, *_CODE)


def machine() -> Path:
    """The node's userland with what only a virtual machine needs: kernel, boot loader, cloud-init."""
    return part("machine.tar", _with(node, MACHINE), node().name, *_CODE)


def sources() -> list[str]:
    """Lines of a sources.list: the suite, its updates and security, from where this machine takes its own.

    Raises Failure when the machine's apt knows no Debian archive.
    """
    wanted = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    known = run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines()
    lines = []
    for line in known:
        uri, release, component, origin = [*line.split(maxsplit=3), ""][:4]
        _, dash, pocket = release.partition("-")
        if origin == "Debian" and component == "main" and pocket in ("", "updates", "security"):
            lines.append(f"deb {uri} {SUITE}{dash}{pocket} main")
    if not lines:
        raise Failure("this machine's apt knows no Debian archive", fix="apt-get update")
    return lines


def _with(below: Callable[[], Path], packages: Sequence[str]) -> Callable[[Path], None]:
    def make(target: Path) -> None:
        with unpacked(below()) as root:
            with inside(root) as command:
                command("apt-get", "update")
                command("apt-get", "install", "--yes", "--no-install-recommends", *packages)
                command("apt-get", "clean")
            discard(root / "var/lib/apt/lists")
            pack(root, target)

    return make
