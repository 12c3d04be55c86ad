"""The node: a system that answers as openSUSE Leap, as a systemd container and as a virtual machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from lab import opensuse, packages, rootfs
from lab import tree as trees
from lab.opensuse import OVERLAY
from lab.parts import discard, part, run, scratch, sha256
from lab.tree import inside, pack, unpacked

IMAGE = "hostwright/node:leap16.0-lab"
DISK = "leap16.0-lab.qcow2"
USER = "opensuse"

_SIZE = 5 << 30
_LABEL = "hostwright.lab.part"

# Debian's managers of packages go, so that whoever looks finds zypper; update-alternatives is SUSE's too.
_HIDDEN = ("apt*", "dpkg*", "debconf*", "deb-systemd-*", "update-passwd")
# What Leap 16's libzypp does unasked.
_ZYPP = ("ZYPP_SINGLE_RPMTRANS", "ZYPP_PCK_PRELOAD", "ZYPP_CURL2")
_NOT_WANTED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "systemd-firstboot.service", "systemd-binfmt.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount", "systemd-pstore.service",
    "ldconfig.service", "systemd-journal-catalog-update.service", "systemd-hwdb-update.service",
    "systemd-update-done.service",
)  # fmt: skip
_NOT_IN_A_CONTAINER = (
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service",
    "systemd-udevd.service", "systemd-modules-load.service", "console-getty.service", "getty@tty1.service",
    "systemd-remount-fs.service",
)  # fmt: skip
_IN_A_MACHINE = ("systemd-networkd.service", "systemd-resolved.service", "serial-getty@ttyS0.service")
_NOT_IN_A_MACHINE = (
    "systemd-networkd-wait-online.service", "getty@tty1.service", "systemd-timesyncd.service",
    "systemd-random-seed.service", "systemd-update-utmp.service", "run-lock.mount", "dev-mqueue.mount",
    "systemd-hostnamed.socket", "systemd-tpm2-setup.service", "systemd-tpm2-setup-early.service",
    "systemd-pcrextend.socket", "cloud-init-hotplugd.socket", "systemd-bsod.service",
    "systemd-network-generator.service",
)  # fmt: skip


def image() -> str:
    """Put the container image into the local docker engine unless it is there; its reference."""
    archive = container()
    engine = docker.from_env()
    try:
        if engine.images.get(IMAGE).labels.get(_LABEL) == archive.name:
            return IMAGE
    except ImageNotFound:
        pass
    changes = (f"LABEL {_LABEL}={archive.name}", "ENV container=docker", 'CMD ["/usr/lib/systemd/systemd"]')
    run("docker", "import", *(word for each in changes for word in ("--change", each)), archive, IMAGE)
    return IMAGE


def container() -> Path:
    """A tar of the node as a container: no kernel, no network of its own, no consoles."""

    def make(target: Path) -> None:
        with unpacked(rootfs.node()) as tree:
            dress(tree)
            shutil.copytree(OVERLAY / "container", tree, symlinks=True, dirs_exist_ok=True)
            with inside(tree) as command:
                command("systemctl", "--quiet", "enable", "hosts.service")
                command("systemctl", "mask", "--quiet", *_NOT_IN_A_CONTAINER)
            (tree / "etc/fstab").write_text("")
            discard(tree / "etc/hosts")
            discard(tree / "etc/resolv.conf")
            pack(tree, target)

    return part("container.tar", make, rootfs.node().name, OVERLAY / "container", *_definition())


def disk() -> Path:
    """A bootable qcow2 of the node as a virtual machine: BIOS, virtio, cloud-init (NoCloud), DHCP and SLAAC.

    No partition table: the file system is the disk, so growing it is all that a larger disk needs.
    """

    def make(target: Path) -> None:
        raw = target.with_name("raw")
        with unpacked(rootfs.machine()) as tree:
            _bootable(tree)
            dress(tree)
            shutil.copytree(OVERLAY / "machine", tree, symlinks=True, dirs_exist_ok=True)
            with inside(tree) as command:
                command("systemctl", "--quiet", "enable", *_IN_A_MACHINE)
                command("systemctl", "--quiet", "mask", *_NOT_IN_A_MACHINE)
            discard(tree / "etc/resolv.conf")
            (tree / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
            with raw.open("wb") as file:
                file.truncate(_SIZE)
            # extlinux reads none of the features left out.
            features = ("-O", "^64bit,^metadata_csum,^orphan_file")
            lazily = ("-E", "lazy_itable_init=1,lazy_journal_init=1")
            run("mkfs.ext4", "-q", "-F", "-L", "root", *features, *lazily, "-d", tree, raw)
        with _mounted(raw, target.with_name("mount")) as root:
            run("extlinux", "--install", root / "boot/extlinux")
        target.mkdir()
        packed = ("-c", "-o", "compression_type=zstd")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *packed, raw, target / DISK)
        (target / f"{DISK}.sha256").write_text(f"{sha256(target / DISK)}  {DISK}\n")

    return part("disk", make, rootfs.machine().name, OVERLAY / "machine", *_definition()) / DISK


def disk_sha256() -> str:
    """The disk's digest in hexadecimal."""
    return disk().with_name(f"{DISK}.sha256").read_text().split()[0]


def dress(tree: Path) -> None:
    """Make a tree that apt manages into one that answers as openSUSE Leap and that zypper manages."""
    with inside(tree) as command:
        _register(tree, command)
        command("groupadd", "--system", "wheel")
        command("useradd", "--create-home", "--shell", "/bin/bash", "--comment", "openSUSE", USER)
        _certificates(tree)
        _ssh(tree)
        shutil.copytree(OVERLAY / "node", tree, symlinks=True, dirs_exist_ok=True)
        (tree / "etc/sudoers.d/opensuse").chmod(0o440)
        with (tree / "etc/zypp/zypp.conf").open("a") as settings:
            settings.write("".join(f"techpreview.{name} = 1\n" for name in _ZYPP))
        command("update-ca-certificates")
        # Byte code is found stale by the times of sources, which archives round: tied to nothing, it is good.
        compiling = ("python3", "-m", "compileall", "-q", "-f", "-j", "0")
        folders = ("/usr/lib/python3", "/usr/lib/python3.13")
        command(*compiling, "--invalidation-mode", "unchecked-hash", *folders)
        command("systemctl", "--quiet", "enable", "sshd.service")
        command("systemctl", "--quiet", "mask", *_NOT_WANTED)
    _identify(tree)
    _hide_debian(tree)
    for package in opensuse.base():
        opensuse.make_folders(package, tree)
        opensuse.check(package, tree)


def _definition() -> tuple[str | Path, ...]:
    return (Path(__file__), Path(trees.__file__), OVERLAY / "node", *packages.definition())


def _register(tree: Path, command: Callable[..., str]) -> None:
    """Enter what dpkg installed into the RPM database, under openSUSE's names where the table has them."""
    rpms = tree / "rpms"
    rpms.mkdir()
    with scratch() as work:
        for rpm in packages.installed(tree, work):
            shutil.copy(rpm, rpms)
    command("sh", "-c", "rpm --install --justdb --nodeps --noscripts --nosignature /rpms/*.rpm")
    discard(rpms)


def _certificates(tree: Path) -> None:
    """Certificates where openSUSE has them: anchors in pki/trust, stores in /var/lib/ca-certificates."""
    anchors = tree / "usr/share/pki/trust/anchors"
    anchors.parent.mkdir(parents=True)
    (tree / "usr/share/ca-certificates/mozilla").rename(anchors)
    for leftover in ("etc/ca-certificates.conf", "usr/share/ca-certificates", "etc/ssl/certs"):
        discard(tree / leftover)
    (tree / "etc/pki/trust/anchors").mkdir(parents=True)
    (tree / "var/lib/ca-certificates").mkdir(parents=True)
    (tree / "etc/ssl/certs").symlink_to("../../var/lib/ca-certificates/pem")
    (tree / "etc/ssl/ca-bundle.pem").symlink_to("../../var/lib/ca-certificates/ca-bundle.pem")


def _ssh(tree: Path) -> None:
    """The daemon's own configuration below /usr/etc, one unit, host keys made at its first start."""
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    vendor = tree / "usr/etc/ssh"
    vendor.mkdir(parents=True)
    for name in ("sshd_config", "ssh_config", "moduli"):
        (tree / "etc/ssh" / name).rename(vendor / name)
        # Debian's programs look in /etc only; openSUSE's find no file there and fall back to /usr/etc.
        (tree / "etc/ssh" / name).symlink_to(f"../../usr/etc/ssh/{name}")
    (vendor / "sshd_config").write_text(
        "Include /etc/ssh/sshd_config.d/*.conf\n"
        "Include /usr/etc/ssh/sshd_config.d/*.conf\n"
        "UsePAM yes\nX11Forwarding yes\nPrintMotd no\n"
        "AuthorizedKeysFile .ssh/authorized_keys\n"
        "Subsystem sftp /usr/lib/openssh/sftp-server\n"
    )
    for pattern in ("usr/lib/systemd/system/ssh*", "etc/systemd/system/**/ssh*"):
        for unit in list(tree.glob(pattern)):
            discard(unit)


def _identify(tree: Path) -> None:
    """Say what system this is, and nothing of which one of its kind."""
    discard(tree / "etc/os-release")
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    for issue in ("issue", "issue.net"):
        greeting = "\nWelcome to openSUSE Leap 16.0 (hostwright lab) - Kernel \\r (\\l).\n\n"
        (tree / "etc" / issue).write_text(greeting)
    (tree / "etc/machine-id").write_text("")
    # systemd would take this for its own.
    discard(tree / "var/lib/dbus/machine-id")
    discard(tree / "etc/hostname")


def _hide_debian(tree: Path) -> None:
    # A script of System V's is a service of its own where the unit that goes with it has another name.
    for scripts in (tree / "etc/init.d", *tree.glob("etc/rc?.d")):
        discard(scripts)
    for leftover in (
        "etc/debian_version",
        "etc/dpkg",
        "etc/apt",
        "var/lib/apt",
        "var/cache/apt",
        "usr/lib/apt",
    ):
        discard(tree / leftover)
    for pattern in _HIDDEN:
        for program in tree.glob(f"usr/bin/{pattern}"):
            program.unlink()
    for kept in (tree / "var/lib/dpkg").iterdir():
        if kept.name != "alternatives":
            discard(kept)


def _bootable(tree: Path) -> None:
    """A small initial file system; it and the kernel under names that do not change."""
    settings = tree / "etc/initramfs-tools/initramfs.conf"
    chosen = re.sub(r"(?m)^MODULES=.*", "MODULES=list", settings.read_text())
    settings.write_text(re.sub(r"(?m)^COMPRESS=.*", "COMPRESS=zstd", chosen))
    shutil.copy(OVERLAY / "machine/etc/initramfs-tools/modules", tree / "etc/initramfs-tools/modules")
    with inside(tree) as command:
        command("update-initramfs", "-u", "-k", "all")
    for link, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        (tree / "boot" / link).symlink_to(next((tree / "boot").glob(pattern)).name)


@contextmanager
def _mounted(raw: Path, point: Path) -> Iterator[Path]:
    point.mkdir()
    run("mount", "-o", "loop", raw, point)
    try:
        yield point
    finally:
        run("umount", point)
