import os
from pathlib import Path

from lab import servers


def test_a_stranger_with_the_number_of_a_dead_daemon_is_not_the_daemon(tmp_path: Path) -> None:
    left = tmp_path / "daemon.pid"
    left.write_text(f"{os.getpid()}\n")
    own = Path("/proc/self/comm").read_text().strip()
    assert servers.running(own, left)
    assert not servers.running("libvirtd", left)


def test_an_empty_pid_file_is_of_no_daemon(tmp_path: Path) -> None:
    left = tmp_path / "daemon.pid"
    left.touch()
    assert not servers.running("libvirtd", left)
