"""File trees on the way from one archive to the next: unpacked, changed from the inside, packed again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.parts import mounts, run, scratch

# Times in archives are not later than this, so that the same files give the same bytes and digests.
EPOCH = "1704067200"


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The archive's files in a folder of their own, which is gone afterwards."""
    with scratch() as folder:
        tree = folder / "tree"
        tree.mkdir()
        run("tar", "--extract", "--numeric-owner", "--xattrs", f"--file={archive}", f"--directory={tree}")
        yield tree


def pack(tree: Path, target: Path) -> None:
    """Write the folder's files to a tar, in an order and with times that do not vary."""
    run(
        "tar", "--create", "--numeric-owner", "--xattrs", "--sort=name", f"--mtime=@{EPOCH}", "--clamp-mtime",
        f"--file={target}", f"--directory={tree}", ".",
    )  # fmt: skip


@contextmanager
def inside(tree: Path) -> Iterator[Callable[..., str]]:
    """A function that runs programs with `tree` as root, proc, dev and a resolver there, services off."""
    resolver = tree / "etc/resolv.conf"
    link = resolver.readlink() if resolver.is_symlink() else None
    resolver.unlink(missing_ok=True)
    resolver.write_text(Path("/etc/resolv.conf").read_text())
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    # Proxies and the like, where there is an apt to heed them.
    settings = tree / "etc/apt/apt.conf.d/99machine"
    if settings.parent.is_dir():
        settings.write_text(run("apt-config", "dump", "Acquire"))

    def command(*words: str | Path) -> str:
        clean = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root")
        return run(*clean, "DEBIAN_FRONTEND=noninteractive", "chroot", tree, *words)

    try:
        run("mount", "-t", "proc", "proc", tree / "proc")
        run("mount", "--bind", "/dev", tree / "dev")
        yield command
    finally:
        for point in mounts(tree):
            subprocess.run(["umount", "--lazy", point], check=True)
        for ours in (policy, settings):
            ours.unlink(missing_ok=True)
        resolver.unlink(missing_ok=True)
        if link:
            resolver.symlink_to(link)
