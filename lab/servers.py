"""The lab's servers: container engine, image registry, and one HTTPS address in front of all artefacts."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from hostwright import paths
from hostwright.errors import Failure
from lab import certificates, registry
from lab.parts import run, store

# An address of the mirror's own, on loopback: containers and guests reach it through their default route.
HOST = "10.87.0.1"
PORT = 8443
URL = f"https://{HOST}:{PORT}"

# Guests and nodes reach the mirror and each other through this machine; systemd of each node watches much.
KERNEL = {"net/ipv4/ip_forward": 1, "fs/inotify/max_user_instances": 1024}

_NAMES = [HOST, "127.0.0.1", "localhost"]


def serve() -> None:
    """Have engine, registry and HTTPS running and answering; what runs already is left alone.

    Raises Failure, naming the log, when one does not come up.
    """
    with _alone():
        _place_address()
        _set_kernel()
        _forget_dead_engines()
        changed = certificates.ensure(tls(), _NAMES)
        _trust()
        config = _folder() / "nginx.conf"
        settings = _nginx_conf()
        changed |= not config.exists() or config.read_text() != settings
        config.write_text(settings)
        (store() / "www").mkdir(exist_ok=True)
        moved = registry.configure(_folder())
        for daemon in _daemons():
            if moved and daemon.name == "registry":
                daemon.stop()  # one that keeps its images below another cache
            daemon.start()
        if changed:
            _nginx().reload()


def stop() -> None:
    """End what `serve` started and nothing else; the engine, if it is ours, last."""
    with _alone():
        for daemon in reversed(_daemons()):
            daemon.stop()


def status() -> dict[str, str]:
    """Each server, and whether it is `running` (ours), `answering` (not ours) or `stopped`."""
    return {daemon.name: daemon.state() for daemon in _daemons()}


def publish(name: str, folder: Path) -> str:
    """Serve `folder` as URL/name/ from now on, in one step for those who are reading, and give that URL."""
    www = store() / "www"
    www.mkdir(exist_ok=True)
    fresh = www / f".{name}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder)
    fresh.rename(www / name)
    return f"{URL}/{name}/"


def ca_pem() -> str:
    """The certificate of the authority that vouches for the mirror."""
    return (tls() / "ca.pem").read_text()


def tls() -> Path:
    """Where the authority's and the server's keys are."""
    return _folder() / "tls"


@dataclass(frozen=True)
class Daemon:
    """A program kept in the background: its pid in NAME.pid, what it says in NAME.log."""

    name: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    # Only a process with this word in its command line is ours, and not one that took over its pid.
    word: str

    def state(self) -> str:
        if self._pid():
            return "running"
        return "answering" if self.answers() else "stopped"

    def start(self) -> None:
        if self.answers():
            return
        self.stop()  # one that runs and does not answer
        if not shutil.which(self.command[0]):
            raise Failure(
                f"{self.command[0]} is not installed", fix=f"apt-get install {_package(self.command[0])}"
            )
        log = _folder() / f"{self.name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
            )
        self._file().write_text(str(process.pid))
        for _ in range(300):
            if self.answers():
                return
            if process.poll() is not None:
                break
            time.sleep(0.2)
        said = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise Failure(f"the lab's {self.name} does not come up", where=str(log), fix=said)

    def reload(self) -> None:
        if pid := self._pid():
            os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        if pid := self._pid():
            os.kill(pid, signal.SIGTERM)
            for _ in range(150):
                if not self._pid():
                    break
                time.sleep(0.2)
            else:
                raise Failure(f"the lab's {self.name} (process {pid}) does not end", fix=f"kill -9 {pid}")
        self._file().unlink(missing_ok=True)

    def _pid(self) -> int:
        """The process, or 0 when it is gone."""
        try:
            pid = int(self._file().read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return pid if self.word.encode() in words else 0

    def _file(self) -> Path:
        return _folder() / f"{self.name}.pid"


def _daemons() -> list[Daemon]:
    config = str(_folder() / registry.CONFIGURATION)
    return [
        Daemon("engine", ("dockerd",), _engine_answers, "dockerd"),
        Daemon("registry", ("docker-registry", "serve", config), registry.answers, config),
        _nginx(),
    ]


def _nginx() -> Daemon:
    config = str(_folder() / "nginx.conf")
    return Daemon("nginx", ("nginx", "-p", str(_folder()), "-c", config), _https_answers, config)


def _package(program: str) -> str:
    return {"dockerd": "docker.io", "nginx": "nginx-light"}.get(program, program)


def _engine_answers() -> bool:
    try:
        return bool(docker.from_env(timeout=10).ping())
    except (docker.errors.DockerException, OSError):
        return False


def _https_answers() -> bool:
    trusting = ssl.create_default_context(cafile=tls() / "ca.pem")
    try:
        with (
            socket.create_connection((HOST, PORT), timeout=5) as plain,
            trusting.wrap_socket(plain, server_hostname=HOST),
        ):
            return True
    except OSError:
        return False


def _place_address() -> None:
    if f" {HOST}/" not in run("ip", "-oneline", "address", "show", "dev", "lo"):
        run("ip", "address", "add", f"{HOST}/32", "dev", "lo")


def _set_kernel() -> None:
    """At least what nodes need of this machine's kernel, which is theirs too."""
    for name, least in KERNEL.items():
        setting = Path("/proc/sys", name)
        if int(setting.read_text()) < least:
            setting.write_text(str(least))


def _forget_dead_engines() -> None:
    """Remove pid files of an engine that was killed: it does not start while something has that number."""
    files = {"dockerd": "/run/docker.pid", "containerd": "/run/docker/containerd/containerd.pid"}
    for daemon, place in files.items():
        if not running(daemon, Path(place)):
            Path(place).unlink(missing_ok=True)


def running(daemon: str, pid_file: Path) -> bool:
    """Whether the file names the daemon: one that was killed leaves the file, and its number to others."""
    try:
        return Path("/proc", pid_file.read_text().strip(), "comm").read_text().strip() == daemon
    except OSError:
        return False


def _trust() -> None:
    """Let this machine's own engine pull under the names that hosts use."""
    trusted = Path(f"/etc/docker/certs.d/{HOST}:{PORT}/ca.crt")
    if not trusted.exists() or trusted.read_text() != ca_pem():
        trusted.parent.mkdir(parents=True, exist_ok=True)
        trusted.write_text(ca_pem())


def _nginx_conf() -> str:
    here, www = _folder(), store() / "www"
    scratch = "\n".join(
        f"    {kind}_temp_path {here}/nginx-temp/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (here / "nginx-temp").mkdir(exist_ok=True)
    owner = "user root;\n" if os.geteuid() == 0 else ""  # the caches are readable by their owner only
    return f"""# Written by the lab; changes are lost.
{owner}daemon off;
worker_processes 2;
pid {here}/nginx.master;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    types {{ application/xml xml; application/gzip gz; text/plain asc key lock; }}
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    server_tokens off;
{scratch}
    server {{
        listen {HOST}:{PORT} ssl;
        listen 127.0.0.1:{PORT} ssl;
        ssl_certificate {here}/tls/server.pem;
        ssl_certificate_key {here}/tls/server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:1m;
        location / {{
            root {www};
            autoindex on;
        }}
        location /v2/ {{
            proxy_pass http://{registry.ADDRESS};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            # Layers pass through as they come, whatever their size.
            client_max_body_size 0;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def _folder() -> Path:
    folder = paths.state() / "lab"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    with (_folder() / ".serve.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
