"""What is wrong with a role's input is said in words, before anything on the host is touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live import program

ROOT = Path(__file__).resolve().parents[2]
LEAP = {
    "os_family": "Suse",
    "distribution": "openSUSE Leap",
    "service_mgr": "systemd",
    "selinux": {"status": "enabled", "mode": "enforcing"},
    "apparmor": {"status": "disabled"},
    "default_ipv4": {"address": "192.0.2.1", "network": "192.0.2.0", "netmask": "255.255.255.0"},
    "default_ipv6": {},
    "hostname": "k1",
    "memtotal_mb": 4096,
}
PERMISSIVE = {"selinux": {"status": "enabled", "mode": "permissive"}}
APPARMOR = {"selinux": {"status": "disabled"}, "apparmor": {"status": "enabled"}}
DEBIAN = {"os_family": "Debian", "distribution": "Debian"}
UNSUPPORTED = "Debian is not supported: hostwright knows openSUSE Leap 16.0"
REPOSITORY = {
    "name": "site",
    "url": "https://mirror.example/rpm/",
    "gpg_key": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
}
CASES = [
    ("mirror", DEBIAN, {}, UNSUPPORTED),
    ("firewall", DEBIAN, {"firewall_ports": []}, UNSUPPORTED),
    ("docker", DEBIAN, {}, UNSUPPORTED),
    ("base", DEBIAN, {}, "Debian with systemd is not supported"),
    ("base", {"service_mgr": "openrc"}, {}, "openSUSE Leap with openrc is not supported"),
    ("mirror", {}, {"mirror_repositories": [REPOSITORY | {"url": "mirror.example"}]}, "site is not usable"),
    ("mirror", {}, {"mirror_repositories": [REPOSITORY | {"gpg_key": "none"}]}, "an armored PGP public key"),
    ("mirror", {}, {"mirror_repositories": [REPOSITORY | {"priority": 100}]}, "a priority of 1 to 99"),
    ("mirror", {}, {"mirror_repositories": [{"name": "site"}]}, "missing required arguments: gpg_key, url"),
    ("mirror", {}, {"mirror_certificates": [{"name": "ca", "pem": "none"}]}, "a certificate in PEM form"),
    ("mirror", {}, {"mirror_registry": "https://registry.example/"}, "is not HOST or HOST:PORT"),
    ("mirror", {}, {"mirror_exclusive": True}, "would leave this host without any repository"),
    (
        "base",
        {"selinux": {"status": "disabled"}},
        {},
        "SELinux is disabled, but base_selinux declares enforcing",
    ),
    ("base", {}, {"base_selinux": "permissive"}, "write SELINUX=permissive to /etc/selinux/config and"),
    ("base", {}, {"base_selinux": "off"}, "value of base_selinux must be one of: enforcing, permissive"),
    ("base", {"default_ipv4": {}}, {}, "no default route, neither IPv4 nor IPv6"),
    ("base", {}, {"base_users": [{"name": "root"}]}, "'root' is not a login name that the role may manage"),
    ("firewall", {}, {"firewall_ports": [{"port": 70000}]}, "port 70000 from"),
    ("firewall", {}, {"firewall_ports": [], "ansible_port": 70001}, "port 70001 from"),
    ("firewall", {}, {"firewall_ports": [{"port": 80, "sources": []}]}, "at least one"),
    ("firewall", {}, {"firewall_ports": [{"port": 80, "sources": ["10.0.0.1"]}]}, "networks as 10.0.0.0/8"),
    ("firewall", {}, {"firewall_ports": [{"port": 80, "protocol": "sctp"}]}, "must be one of: tcp, udp"),
    ("docker", {}, {"docker_daemon": {"iptables": False}}, "must stay on"),
    ("microk8s", DEBIAN, {}, UNSUPPORTED),
    ("microk8s", {}, {}, "SELinux is enforcing, and nobody has shown MicroK8s to work"),
    ("microk8s", APPARMOR, {}, "AppArmor is active, and nobody has shown MicroK8s to work"),
    ("microk8s", APPARMOR | {"hostname": "A"}, {"microk8s_apparmor": True}, "'A' is no name for a node"),
    ("microk8s", PERMISSIVE, {"microk8s_channel": "latest/stable"}, "latest moves from one to the next"),
    (
        "microk8s",
        PERMISSIVE,
        {"microk8s_channel": "1.35-strict/stable"},
        "strictly confined track is another",
    ),
    ("microk8s", PERMISSIVE, {"microk8s_channel": "1.27/stable"}, "from 1.28 on"),
    ("microk8s", PERMISSIVE | {"hostname": "Web_1"}, {}, "'Web_1' is no name for a node of Kubernetes"),
    (
        "microk8s",
        PERMISSIVE | {"nodename": "web-1.example.com"},
        {},
        "Run hostnamectl set-hostname",
    ),
    ("microk8s", PERMISSIVE | {"default_ipv4": {}}, {}, "no default route over IPv4"),
    (
        "microk8s",
        PERMISSIVE,
        {"hostwright_host": {"address": "198.51.100.1"}},
        "MicroK8s advertises 192.0.2.1, the address of the default route",
    ),
    (
        "microk8s",
        PERMISSIVE | {"memtotal_mb": 900},
        {},
        "has 900 MiB of memory, and one of the servers needs",
    ),
    ("microk8s", PERMISSIVE, {"microk8s_pod_network": "10.1.0.0"}, "'10.1.0.0' is no network"),
    (
        "microk8s",
        PERMISSIVE,
        {"microk8s_pod_network": "10.152.0.0/16"},
        "10.152.0.0/16 and 10.152.183.0/24 overlap",
    ),
    ("microk8s", PERMISSIVE, {"microk8s_service_network": "192.0.2.0/26"}, "192.0.2.0/255.255.255.0 overlap"),
    ("microk8s", PERMISSIVE, {}, "A cluster has 1 server, or 3"),
    ("microk8s", PERMISSIVE, {"microk8s_addons": [{"args": []}]}, "missing required arguments: name"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Case to the message its role failed with: all in one run, a case being a host."""
    folder = tmp_path_factory.mktemp("input")
    hosts = {
        # Nobody has this address (RFC 5737): what gets past the checks gets nowhere.
        str(number): variables
        | {"ansible_host": "192.0.2.1", "role": role, "facts": LEAP | {"nodename": str(number)} | facts}
        for number, (role, facts, variables, _) in enumerate(CASES)
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    tasks = [
        {
            "ansible.builtin.set_fact": {name: f"{{{{ facts.{name} }}}}" for name in (*LEAP, "nodename")}
            | {"cacheable": True}
        },
        {"ansible.builtin.include_role": {"name": "hostwright.hostwright.{{ role }}"}},
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {ROOT}/.collections\nstdout_callback = ansible.posix.json\n"
        "host_key_checking = false\ntimeout = 1\nforks = 4\n"
    )
    command = [
        program("ansible-playbook"),
        "-i",
        folder / "hosts.yml",
        folder / "play.yml",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    results = [task["hosts"] for play in json.loads(done.stdout)["plays"] for task in play["tasks"]]
    return {host: json.dumps(told) for each in results for host, told in each.items() if told.get("failed")}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[3] for case in CASES])
def test_mistake_is_named(said: dict[str, str], number: int) -> None:
    assert CASES[number][3] in said[str(number)]
