"""The proof of an application on a cluster: its eyes, with a kubectl of our own, and what its tests say."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hostwright import application, secrets
from hostwright.proof import knock, namespace, observe, report
from hostwright.proof.wanted import FORBIDDEN, OPERATOR, Machine, accounts
from hostwright.render import Cluster, Environment, pinned, render
from tests.rows import proof_of
from tests.unit.test_proof import listening, proved, row

Item = dict[str, Any]
NAMESPACE = "warehouse-prod"
NODES = {"zeus": "192.0.2.1", "apollo": "192.0.2.2"}


kubernetes = proof_of("test_kubernetes")
microk8s = proof_of("test_microk8s")
ports = proof_of("test_ports")
warehouse = proof_of("test_warehouse")


# --- Eyes ---


@pytest.mark.parametrize(("headers", "speaks"), [({}, False), ({"x-request-id": "1"}, True)])
def test_an_ingress_that_answers_itself_is_seen(headers: dict[str, str], speaks: bool) -> None:
    asked = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Host"])
            self.send_response(404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer = knock.knock("127.0.0.1", server.server_port, "http", host="shop.test", header="X-Request-ID")
    server.shutdown()
    server.server_close()
    assert (answer["state"], answer["speaks"], asked) == ("open", speaks, ["shop.test"])
    assert answer["detail"].endswith("somebody else answers") is not speaks


def test_a_redirect_may_be_the_controllers() -> None:
    with listening(
        says=b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://x/\r\n\r\n", patience=60
    ) as port:
        assert knock.knock("127.0.0.1", port, "http", header="X-Request-ID")["speaks"]


def test_names_that_are_not_known_have_no_address() -> None:
    found = knock.resolve(["localhost", "nobody.invalid"])
    assert "127.0.0.1" in found["localhost"]
    assert found["nobody.invalid"] == []


def test_objects_one_after_another_or_in_a_list() -> None:
    one, two = {"kind": "A"}, {"kind": "B"}
    assert namespace.documents(f"{json.dumps(one, indent=4)}\n{json.dumps(two)}\n") == [one, two]
    assert namespace.documents(json.dumps({"kind": "List", "items": [one, two]})) == [one, two]
    assert namespace.documents("\n") == []


POD = {
    "metadata": {"name": "NAME-1", "labels": {namespace.OWNER: "NAME"}},
    "spec": {"nodeName": "node-1"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}

# As much of kubectl as is called, with this machine for every pod and Service.
KUBECTL = r"""#!PYTHON
import json, os, sys, time
words = [word for word in sys.argv[1:] if not word.startswith(("--cache-dir", "--namespace="))]
answers = json.load(open(ANSWERS))
if words[0] == "exec":
    if answers.get("cut") and not os.path.exists(ANSWERS + ".cut"):
        open(ANSWERS + ".cut", "w")
        sys.exit("error reading from error stream: unexpected EOF")
    if answers.get("mute") == "always" or answers.get("mute") and not os.path.exists(ANSWERS + ".mute"):
        os.dup2(os.open(ANSWERS + ".mute", os.O_CREAT), 0)
    os.environ["PATH"] = os.path.dirname(sys.executable) + ":" + os.environ["PATH"]
    os.execvp(words[words.index("--") + 1], words[words.index("--") + 1:])
elif words[0] == "port-forward":
    for port in words[3:]:
        print(f"Forwarding from 127.0.0.1:{answers['open']} -> {port[1:]}", flush=True)
    time.sleep(600)
elif words[0] == "create":
    for each in json.load(sys.stdin)["items"]:
        print(json.dumps(each | {"status": {"allowed": each["spec"]["user"] == "root"}}, indent=4))
elif words[0] == "diff":
    sys.stdout.write(answers["diff"])
    sys.exit(1 if answers["diff"] else 0)
elif words[1] == KINDS and answers.get("blind") and not os.path.exists(ANSWERS + ".blind"):
    open(ANSWERS + ".blind", "w")
    print(json.dumps({"kind": "List", "items": answers["blind"]}))
elif words[1] == "namespace":
    print(json.dumps({"kind": "Namespace"}))
else:
    print(answers.get("said") or json.dumps({"kind": "List", "items": answers.get(words[1], [])}))
"""


def service(name: str, *addresses: str) -> Item:
    return {"kind": "Service", "metadata": {"name": name}, "spec": {"clusterIPs": list(addresses)}}


@pytest.fixture
def look(tmp_path: Path) -> Any:
    """A look with the answers of a kubectl: run as on a server, by a Python that knows nothing of us."""

    def look(**answers: Any) -> Item:
        (tmp_path / "answers").write_text(json.dumps({"diff": ""} | answers))
        command = tmp_path / "kubectl"
        text = KUBECTL.replace("#!PYTHON", f"#!{sys.executable}")
        text = text.replace("KINDS", repr(namespace.KINDS))
        command.write_text(text.replace("ANSWERS", repr(str(tmp_path / "answers"))))
        command.chmod(0o755)
        door = {"owner": "web", "port": answers.get("open", 1), "protocol": "tcp", "callers": ["store"]}
        request = {
            "kubectl": [str(command)],
            "namespace": NAMESPACE,
            "directory": "/etc/hostwright/x",
            "doors": [door],
            "silent": ["exporter"],
            "python": ["job"],
            "resolving": ["job"],
            "forward": [door],
            "reviews": [{"user": "root"}, {"user": "nobody"}],
        }
        program = observe.payload(request, "namespace")
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
        )
        return observe.unpack(done.stdout)

    return look


def pods(*names: str) -> list[Item]:
    return [json.loads(json.dumps(POD).replace("NAME", name)) for name in names]


def test_a_look_at_a_namespace_comes_back_whole(look: Any) -> None:
    with listening() as port:
        found = look(
            open=port,
            pods=[*pods("job", "store", "web", "exporter"), POD | {"status": {}}],
            services=[
                service("web", "127.0.0.1"),
                service("web-pods", "None"),
                service("localhost", "127.0.0.2"),
            ],
        )
    assert tuple(found) == namespace.PARTS
    by_owner = {each["owner"]: each for each in found["inside"]}
    assert {*by_owner} == {"job", "store", "web"}, "nobody is asked who is not ready, or has no shell"
    with_python, with_bash = by_owner["job"], by_owner["store"]
    assert by_owner["web"]["knocks"] == [], "nobody knocks at its own door"
    assert [(each["owner"], each["state"]) for each in with_python["knocks"]] == [("web", "open")]
    assert with_python["knocks"][0]["speaks"]
    assert "127.0.0.1" in with_python["names"]["localhost"]
    assert "web-pods" not in with_python["names"]
    assert [(each["owner"], each["state"]) for each in with_bash["knocks"]] == [("web", "open")]
    assert "speaks" not in with_bash["knocks"][0]
    assert isinstance(with_bash["uid"], int)
    first = observe._fields(Path("/proc/1/status").read_text())
    assert with_bash["capabilities"] == observe._capabilities(first)
    assert {type(with_bash[name]) for name in ("no_new_privileges", "read_only")} == {bool}
    assert [each["state"] for each in found["forwarded"]] == ["open"]
    assert [each["status"]["allowed"] for each in found["reviews"]] == [True, False]
    assert found["differences"] == []


def test_what_bash_does_not_reach_is_closed(look: Any) -> None:
    found = look(pods=pods("store"), services=[service("web", "127.0.0.1")])
    assert [each["state"] for each in found["inside"][0]["knocks"]] == ["closed"]


def test_a_call_that_was_cut_off_is_made_again(look: Any) -> None:
    """As while an API server starts anew; what it, or a program in a pod, has answered stays."""
    found = look(cut=True, pods=pods("store"), services=[service("web", "127.0.0.1")])
    assert isinstance(found["inside"][0]["uid"], int)


def test_who_must_be_answered_asks_again_when_it_is_quiet(look: Any, tmp_path: Path) -> None:
    """The first time a pod gets nowhere: whoever it is asks again, and what stays unseen is not closed."""
    with listening() as port:
        services = [service("web", "127.0.0.1")]
        heard = look(open=port, mute=True, pods=pods("store"), services=services)["inside"]
        assert [knock["state"] for knock in heard[0]["knocks"]] == ["open"]
        (tmp_path / "answers.mute").unlink()
        heard = look(open=port, mute=True, pods=pods("shop"), services=services)["inside"]
        assert [knock["state"] for knock in heard[0]["knocks"]] == ["open"]
        heard = look(open=port, mute="always", pods=pods("shop"), services=services)["inside"]
    assert [knock["state"] for knock in heard[0]["knocks"]] == ["unseen"]


@pytest.mark.parametrize(
    "said",
    ['Error from server (NotFound): pods "x" not found', "command terminated with exit code 2"],
)
def test_an_answer_is_taken_as_it_is(said: str) -> None:
    calls: list[str] = []
    namespace.patiently(lambda: calls.append(said), lambda _: (1, said))
    assert calls == [said]


def scaler(status: str, most: int = 4) -> Item:
    conditions = [{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": status}]
    return {
        "kind": "HorizontalPodAutoscaler",
        "spec": {"minReplicas": 2, "maxReplicas": most},
        "status": {"conditions": conditions},
    }


def test_an_autoscaler_that_always_keeps_as_many_has_nothing_to_see(look: Any) -> None:
    found = look(blind=[scaler("False", 2)], **{namespace.KINDS: [scaler("True", 2)]})
    assert found["objects"] == [scaler("False", 2)]


def test_an_autoscaler_is_waited_for_until_it_sees(look: Any) -> None:
    """As after a rollout, when nobody has measured the new pods yet."""

    found = look(blind=[scaler("False")], **{namespace.KINDS: [scaler("True")]})
    assert found["objects"] == [scaler("True")]


def test_differences_are_titles_and_no_content(look: Any) -> None:
    title = "+++ /tmp/MERGED-1/v1.ConfigMap.warehouse-prod.orders-1c4e0ae20a63"
    found = look(diff=f"diff -u -N a b\n--- a\n{title}\n@@ -1 +1 @@\n-password: old\n+password: new\n")
    assert found["differences"] == [title]


def test_a_sentence_and_success_are_no_answer(look: Any) -> None:
    found = look(said="This MicroK8s deployment is acting as a node in a cluster.", diff="acting as a node\n")
    for part in ("objects", "pods", "differences", "inside", "enforcers"):
        assert "acting as a node" in found[part]["error"], part


# --- What is declared of a cluster ---


def written(folder: Path, name: str = "warehouse") -> Path:
    """An inventory of two servers, of which the first is not the first by name, and a worker."""
    names = {"zeus": "192.0.2.1", "apollo": "192.0.2.2", "worker": "192.0.2.3"}
    hosts = {
        name: {"ansible_host": address, "hostwright_host": {"address": address, "address6": "2001:db8::1"}}
        for name, address in names.items()
    }
    groups = {"servers": {n: hosts[n] for n in ("zeus", "apollo")}, "workers": {"worker": hosts["worker"]}}
    told = {"name": "prod", "topology": "cluster", "application": name, "components": "all"}
    images = application.load(name, components="all").images()
    document = {
        "vars": {
            "hostwright_environment": told | {"pod_network": "10.1.0.0/16"},
            "mirror_exclusive": True,
            "app_compose_images": {image: each for image, each in images.items() if image != "grafana"},
        },
        "children": {
            "cluster": {"children": {name: {"hosts": found} for name, found in groups.items()}},
        },
    }
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": document}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(written(tmp_path_factory.mktemp("inventory")))


def asked(inventory: str, application: str = "warehouse") -> Machine:
    """The server that is asked, with what its roles' variables are."""
    found = Machine("zeus", inventory)
    found.__dict__["wanted"] = {
        "app_kubernetes_namespace": f"{application}-prod",
        "app_kubernetes_names": ["192.0.2.1", "*.example.com", "shop.example.com"],
        "app_kubernetes_images": {},
        "app_kubernetes_overlay": "prod",
        "app_kubernetes_public_nodes": [*NODES],
        "app_kubernetes_replicas": {"panel": 1} if application == "warehouse" else {},
        "app_kubernetes_settings": {},
        "firewall_ports": [{"port": 10250}, {"port": 443, "forwarded": True}],
        "firewall_ssh_port": 22,
        "__firewall_everyone": ["0.0.0.0/0", "::/0"],
        "__firewall_all": [{"port": 22}, {"port": 10250}, {"port": 443, "forwarded": True}],
    }
    found.__dict__["_look"] = {"addresses": [], "cluster": {"nodes": []}}
    return found


@pytest.fixture
def machine(inventory: str) -> Machine:
    return asked(inventory)


def test_one_server_answers_for_the_application(machine: Machine, inventory: str) -> None:
    others = [Machine(name, inventory) for name in ("apollo", "worker")]
    assert machine.application
    assert "prometheus" in machine.application.components
    assert machine.absent == ["grafana"]
    assert [each.absent for each in others] == [[], []]
    assert [each.application for each in others] == [None, None]
    assert [each.instances for each in others] == [{}, {}]
    for each in (machine, *others):
        assert "app_kubernetes" in each.roles
        assert "app_compose" not in each.roles
        assert {port.number for port in each.published if port.scope == "public"} == {80, 443}


def test_nobody_answers_on_the_host_for_what_is_not_deployed(machine: Machine) -> None:
    owners = {look.port.owner for look in machine.looks("host")}
    assert "prometheus" in owners
    assert "grafana" not in owners


def test_every_node_is_looked_at_from_outside(machine: Machine, inventory: str) -> None:
    worker = Machine("worker", inventory)
    worker.__dict__["_look"] = {"addresses": ["192.0.2.33"]}
    looks = worker.looks("outside")
    assert {look.address for look in looks if look.port.number == 443} == {
        "192.0.2.3",
        "192.0.2.33",
        "2001:db8::1",
    }
    assert worker.looks("host") == []
    # Its pods have no IPv6, and so has the Ingress none.
    six = [look for look in looks if look.address == "2001:db8::1"]
    assert six
    assert not any(worker.admits(look) for look in six)


@pytest.mark.parametrize(
    ("sources", "admitted"),
    [(["192.0.2.0/24"], False), (["192.0.2.0/24", "127.0.0.0/8"], True), (["::/0"], False), ([], False)],
)
def test_the_api_is_open_to_operators_and_else_closed(
    machine: Machine, sources: list[str], admitted: bool
) -> None:
    """Which of the two is looked at follows from where we are."""
    machine.variables = machine.variables | {"hostwright_host": {"address": "127.0.0.1"}}
    machine.wanted["__firewall_all"].append({"port": 16443, "sources": sources})
    cases = {
        name: list(next(m for m in test.pytestmark if m.name == "each").kwargs["cases"](machine))
        for name, test in vars(microk8s).items()
        if name in ("test_api", "test_api_is_closed")
    }
    closed, answers = ([], ["server"]) if admitted else ([16443], [])
    assert cases == {"test_api_is_closed": closed, "test_api": answers}


def test_a_port_that_is_open_to_others_is_not_open_to_us(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.wanted["__firewall_all"] = [
        {"port": 22},
        {"port": 443},
        {"port": 10250, "sources": ["192.0.2.1/32"]},
        {"port": 16443, "sources": ["127.0.0.0/8"]},
    ]
    machine.__dict__["_look"] |= {"listeners": [], "containers": None}
    open_ports = [22, 443, 16443]
    monkeypatch.setattr(machine, "open_ports", lambda _: open_ports)
    ports.test_nothing_else_answers_outside(machine, machine.seen, "127.0.0.1", str)
    open_ports.append(10250)
    with pytest.raises(AssertionError, match="port 10250/tcp answers at"):
        ports.test_nothing_else_answers_outside(machine, machine.seen, "127.0.0.1", str)


def test_a_port_is_open_to_whom_firewall_and_application_admit(machine: Machine) -> None:
    assert machine.application
    machine.variables = machine.variables | {"hostwright_host": {"address": "127.0.0.1"}}
    looks = machine.looks("outside")
    https = next(each for each in looks if each.port.number == 443 and each.address == "127.0.0.1")
    http = next(each for each in looks if each.port.number == 80 and each.address == "127.0.0.1")
    assert machine.admits(https)
    assert not machine.admits(http), "of the two the firewall is told to open one"
    others = {"sources": ("192.0.2.0/24",)}
    by_balancer = {"number": 10250, "owner": "orders-db", **others}
    assert machine.admits(dataclasses.replace(https, port=dataclasses.replace(https.port, **others)))
    machine.wanted["__firewall_all"].append({"port": 10250, "forwarded": True})
    assert not machine.admits(dataclasses.replace(https, port=dataclasses.replace(https.port, **by_balancer)))


def test_loopback_is_a_forwarded_port(machine: Machine) -> None:
    looks = machine.looks("host")
    assert {(look.port.owner, look.port.number) for look in looks} >= {("gateway", 8080), ("auth-db", 5433)}
    machine.__dict__["deployed"] = {
        "forwarded": [{"state": "open", "at": each.number} for each in machine.forwarded]
    }
    assert [machine.answer(look)["at"] for look in looks] == [look.port.number for look in looks]


def test_an_ingress_is_asked_by_name(machine: Machine) -> None:
    assert machine.known_as("192.0.2.1") == "shop.example.com"
    look = next(each for each in machine.looks("outside") if each.port.number == 80)
    assert machine._target(look) == {
        "address": "192.0.2.1",
        "port": 80,
        "protocol": "http",
        "host": "shop.example.com",
        "header": "X-Request-ID",
    }


def test_doors_and_who_has_to_reach_them(machine: Machine) -> None:
    doors = {(door.owner, door.number): door for door in machine.doors}
    assert machine.callers(doors["orders-db", 5432]) == {"orders", "notification", "analytics", "mail"}
    assert machine.callers(doors["auth-db", 5433]) == {"auth"}
    assert machine.callers(doors["mailsink", 2525]) == {"mail"}
    assert machine.callers(doors["gateway", 80]) == set()
    assert machine.callers(doors["otel-collector", 4318]) >= {"orders", "auth"}
    assert ("gateway", 443) not in doors


def test_doors_of_those_who_cannot_be_asked_are_an_operators(machine: Machine) -> None:
    found = {(door.owner, door.number) for door in machine.overheard}
    assert found >= {("rabbitmq", 15692), ("loki", 3100), ("jaeger", 4318), ("nginx-exporter", 9113)}
    assert not found & {("orders", 8080), ("otel-collector", 4318), ("gateway", 10001)}
    assert found <= {(port.owner, port.number) for port in machine.forwarded}
    assert len({(port.owner, port.number) for port in machine.forwarded}) == len(machine.forwarded)


def test_what_is_beside_the_gateway_is_of_its_pods(machine: Machine) -> None:
    assert "nginx-exporter" not in machine.instances
    assert machine.home("nginx-exporter") == "gateway"
    assert [image.partition(":")[0] for image in machine.images("gateway")] == [
        "nginx",
        "nginx/nginx-prometheus-exporter",
    ]
    assert machine.uid("otel-collector") > 0


def test_how_many_there_are(machine: Machine) -> None:
    found = {
        part: machine.scale(part) for part in ("gateway", "orders", "panel", "mailsink", "orders-db", "loki")
    }
    assert found == {
        "gateway": (2, 4),
        "orders": (2, 4),
        "panel": (1, 4),
        "mailsink": (1, 1),
        "orders-db": (1, 1),
        "loki": (1, 1),
    }


def listener(address: str, port: int, unit: str = "", process: str = "", protocol: str = "tcp") -> Item:
    return {
        "address": address,
        "port": port,
        "unit": unit,
        "process": process,
        "protocol": protocol,
        "pid": 1,
    }


KUBELITE = "snap.microk8s.daemon-kubelite.service"


@pytest.mark.parametrize(
    ("each", "allowed"),
    [
        (listener("*", 10250, KUBELITE), True),
        (listener("*", 10257, KUBELITE), True),
        (listener("127.0.0.1", 10248, KUBELITE), True),
        (listener("127.0.0.1", 41234, "snap.microk8s.daemon-containerd.service"), True),
        (listener("127.0.0.1", 9099, process="calico-node"), True),
        (listener("*", 9099, process="calico-node"), False),
        (listener("*", 31234, KUBELITE), True),
        (listener("*", 31234, "other.service"), False),
        (listener("*", 10255, KUBELITE), False),
        (listener("*", 10257, "other.service"), False),
        (listener("127.0.0.1", 8080, "other.service"), False),
        (listener("*", 443, "kubepods.slice"), False),
        (listener("*", 4789, KUBELITE, protocol="udp"), False),
        (listener("192.0.2.1", 7946, process="speaker"), True),
        (listener("192.0.2.1", 7946, process="speaker", protocol="udp"), True),
        (listener("*", 7472, process="speaker"), True),
        (listener("*", 7472, process="speaker", protocol="udp"), False),
        (listener("*", 7473, process="speaker"), False),
        (listener("*", 7946, process="other"), False),
    ],
)
def test_what_a_node_listens_on(machine: Machine, each: Item, allowed: bool) -> None:
    assert ports.allowed(machine, each) is allowed


class Names(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def gateway(
    machine: Machine, folder: Path, handler: type[http.server.BaseHTTPRequestHandler]
) -> Iterator[tuple[Any, list[str | None]]]:
    """An errand at a warehouse on loopback, whose gateway answers so; and the names it is asked by."""
    made = secrets.complete(application.load("warehouse"), {}, "test", ["shop.example.com"])
    (folder / "certificate").write_text(made["gateway_certificate"])
    (folder / "key").write_text(made["gateway_private_key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = SimpleNamespace(
        secrets=made, addresses=["127.0.0.1"], known_as=machine.known_as, clustered=True,
        variables={"hostwright_environment": {"name": "prod"}},
    )  # fmt: skip
    errand = warehouse.Errand(known)
    errand.http.base_url = f"https://shop.example.com:{server.server_port}"
    yield errand, asked
    server.shutdown()
    server.server_close()


def test_an_errand_asks_by_name_at_an_address(machine: Machine, tmp_path: Path) -> None:
    with gateway(machine, tmp_path, Names) as (errand, asked):
        answer = errand.http.get("/")
    assert answer.headers["X-Host"] == errand.http.base_url.netloc.decode()
    assert asked == ["shop.example.com"]


def test_an_admin_with_another_password_is_asked_for_once(machine: Machine, tmp_path: Path) -> None:
    """More wrong logins would shut the real one out; the rows say how the proof learns the new password."""
    seen = []

    class Changed(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, told.get("email")))
            user = {"email": told.get("email"), "role": "customer"}
            order = {"id": 7, "created_at": "2026-01-01T00:00:00Z"}
            status, body = (201, order) if self.path == "/api/orders" else (200, {"token": "t", "user": user})
            if told.get("email") == "admin@warehouse.example":
                status, body = 401, {"error": "Invalid email or password"}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    rows = ("test_notification", "test_webhook", "test_statistics", "test_mail")
    wanted = (
        r"put it there, in infra/: pulumi config set --stack prod --secret secret-admin_password; then hostw"
    )
    with gateway(machine, tmp_path, Changed) as (errand, _):
        for name in rows:
            more = {} if name == "test_webhook" else {"detail": print}
            with pytest.raises(AssertionError, match=wanted):
                getattr(warehouse, name)(errand, "warehouse", **more)
        with pytest.raises(AssertionError, match=wanted):
            warehouse.test_logout(errand, "warehouse")
    assert [path for path, email in seen if email == "admin@warehouse.example"] == ["/api/auth/login"]
    assert [path for path, _ in seen].count("/api/orders") == 1


# --- What the tests make of a cluster ---


COUNTS = (
    "replicas", "updatedReplicas", "availableReplicas", "readyReplicas",
    "desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady",
)  # fmt: skip


def cluster(machine: Machine) -> Item:
    """What is seen of an application that is as it is rendered, on a cluster that enforces policies."""
    assert machine.application
    pins = pinned(machine.application, ["zeus"])
    place = Environment(
        topology="cluster",
        cluster=Cluster(pins=pins, public_nodes=tuple(machine.wanted["app_kubernetes_public_nodes"])),
        replicas=machine.wanted["app_kubernetes_replicas"],
        names=("shop.example.com",),
    )
    objects = [yaml.safe_load(text) for text in render(machine.application, place).values()]
    found: Item = {"objects": [], "pods": [], "inside": [], "differences": [], "enforcers": ["calico-node"]}
    addresses = {each["metadata"]["name"]: f"10.152.183.{n}" for n, each in enumerate(objects)}
    for each in objects:
        kind, part = each["kind"], namespace.owner(each)
        each["metadata"]["generation"] = 1
        if kind == "Namespace":
            found["namespace"] = each
        elif kind == "Service":
            each["spec"]["clusterIPs"] = [each["spec"].get("clusterIP", addresses[each["metadata"]["name"]])]
            nodes = each["metadata"].get("annotations", {}).get(kubernetes.kubectl.NODES, "")
            given = [{"ip": NODES[name]} for name in nodes.split(",") if name]
            each["status"] = {"loadBalancer": {"ingress": given}}
        elif kind == "PersistentVolumeClaim":
            each["status"] = {"phase": "Bound"}
        elif kind == "HorizontalPodAutoscaler":
            current = {"name": "cpu", "current": {"averageUtilization": 3, "averageValue": "3m"}}
            each["status"] = {
                "conditions": [{"type": "ScalingActive", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": current}],
            }
        elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            count = machine.scale(part)[0] if kind == "Deployment" else 1
            count = len(NODES) + 1 if kind == "DaemonSet" else count
            each["spec"].setdefault("replicas", count)
            each["status"] = {
                "observedGeneration": 1,
                **dict.fromkeys(COUNTS, count),
                "conditions": [{"type": "Complete", "status": "True"}] if kind == "Job" else [],
            }
            places = [*machine.places(part)] or [*NODES, "worker"]
            for number in range(count):
                pod = copy.deepcopy(each["spec"]["template"])
                pod["metadata"]["name"] = f"{part}-{number}"
                pod["spec"]["nodeName"] = places[number % len(places)]
                image = pod["spec"]["containers"][0]["image"]
                pod["status"] = {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "False" if kind == "Job" else "True"}],
                    "containerStatuses": [{"imageID": f"docker.io/library/{image}"}],
                }
                found["pods"].append(pod)
        found["objects"].append(each)
    for pod in filter(namespace.ready, found["pods"]):
        if namespace.owner(pod) not in machine.silent:
            found["inside"].append(inside(machine, pod, addresses))
    found["forwarded"] = [{"state": "open", "speaks": True, "detail": "200"} for _ in machine.forwarded]
    found["reviews"] = [
        {
            "spec": account | {"resourceAttributes": {"verb": verb, "resource": resource}},
            "status": {"allowed": who == OPERATOR},
        }
        for who, account in accounts(machine.namespace).items()
        for verb, _, resource in FORBIDDEN
    ]
    return found


def inside(machine: Machine, pod: Item, addresses: dict[str, str]) -> Item:
    part = namespace.owner(pod)
    spec = pod["spec"]["securityContext"]
    return {
        "pod": pod["metadata"]["name"],
        "owner": part,
        "node": pod["spec"]["nodeName"],
        "uid": spec["runAsUser"],
        "capabilities": "0",
        "no_new_privileges": True,
        "read_only": True,
        "names": {name: [address] for name, address in addresses.items()} if part == "orders" else {},
        "knocks": [
            {"owner": door.owner, "port": door.number, "address": addresses[door.owner], "detail": "heard"}
            | {"state": "open" if part in machine.callers(door) else "filtered"}
            for door in machine.doors
            if door.owner != part
        ],
    }


@pytest.fixture(scope="module")
def well(inventory: str) -> Item:
    return cluster(asked(inventory))


@pytest.fixture
def deployed(machine: Machine, well: Item) -> Item:
    found = copy.deepcopy(well)
    machine.__dict__["deployed"] = found
    return found


def proofs(machine: Machine) -> Iterator[tuple[str, Any, list[Any]]]:
    """Name, function and cases of each test."""
    for name, test in vars(kubernetes).items():
        if name.startswith("test_"):
            (mark,) = [each for each in test.pytestmark if each.name == "each"]
            yield name, test, list(mark.kwargs["cases"](machine))


def failures(machine: Machine) -> dict[str, str]:
    """`NAME-CASE` of each test that does not hold -> why, as the proof asks them; UNPROVED comes before."""
    found: dict[str, str] = {}
    for name, test, cases in proofs(machine):
        for case in cases:
            known = {"machine": machine, "deployed": machine.deployed, "case": case, "detail": str}
            wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
            title = f"{case.owner}:{case.number}" if hasattr(case, "owner") else str(case)
            try:
                test(**{each: known[each] for each in wanted})
            except AssertionError as error:
                found[f"{name[5:]}-{title}"] = str(error)
            except pytest.skip.Exception:
                # What the mirror lacks is a row of its own in the proof, "not deployed", which cannot fail.
                assert name == "test_deployed"
            except pytest.xfail.Exception as error:
                found[f"{name[5:]}-{title}"] = f"UNPROVED {error}"
    return found


def test_all_holds_of_a_cluster_that_is_as_rendered(machine: Machine, deployed: Item) -> None:
    assert failures(machine) == {}
    empty = [name for name, _, cases in proofs(machine) if not cases]
    assert empty == ["test_balancer"], "the warehouse has no load balancer, and everything else has a case"


def test_all_holds_where_the_gateway_is_at_the_nodes_own_addresses(tmp_path: Path) -> None:
    machine = asked(str(written(tmp_path, "gatekeeper")), "gatekeeper")
    machine.__dict__["deployed"] = found = cluster(machine)
    assert failures(machine) == {}
    (port,) = next(cases for name, _, cases in proofs(machine) if name == "test_balancer")
    outside = [look.address for look in machine.looks("outside") if look.port == port]
    assert (port.number, outside) == (8080, [*NODES.values()])
    for each in found["objects"]:
        each.get("status", {}).pop("loadBalancer", None)
    for pod in found["pods"]:
        if (namespace.owner(pod), pod["spec"]["nodeName"]) == ("gateway", "zeus"):
            pod["spec"]["nodeName"] = "worker"
    failed = failures(machine)
    assert (failed.keys(), failed["spread-gateway"]) == (
        {"balancer-gateway:8080", "spread-gateway"},
        "none is on zeus",
    )


def find(items: list[Item], part: str, kind: str = "") -> Item:
    return next(each for each in items if namespace.owner(each) == part and each.get("kind", "") == kind)


def spoil_deployment(d: Item) -> None:
    find(d["objects"], "orders", "Deployment")["status"]["availableReplicas"] = 1


def spoil_job(d: Item) -> None:
    find(d["objects"], "orders-migrate", "Job")["status"]["conditions"] = []


def spoil_image(d: Item) -> None:
    find(d["pods"], "orders")["spec"]["containers"][0]["image"] = "hostwright/orders:0.0.9"


def spoil_spread(d: Item) -> None:
    for pod in d["pods"]:
        if namespace.owner(pod) == "orders":
            pod["spec"]["nodeName"] = "zeus"


def spoil_strategy(d: Item) -> None:
    find(d["objects"], "orders", "Deployment")["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 1}}


def spoil_autoscaler(d: Item) -> None:
    find(d["objects"], "orders", "HorizontalPodAutoscaler")["status"]["currentMetrics"] = None


def spoil_claim(d: Item) -> None:
    find(d["objects"], "auth-db", "PersistentVolumeClaim")["status"]["phase"] = "Pending"


def spoil_secret(d: Item) -> None:
    for volume in find(d["pods"], "orders")["spec"]["volumes"]:
        if "secret" in volume:
            volume["secret"]["secretName"] = "orders-db-0123456789ab"


def spoil_review(d: Item) -> None:
    d["reviews"][0]["status"]["allowed"] = True


def spoil_access(d: Item) -> None:
    for each in d["reviews"]:
        each["status"]["allowed"] = False


def spoil_stranger(d: Item) -> None:
    d["pods"].append({"metadata": {"name": "miner"}, "spec": {"containers": []}, "status": {}})


def spoil_name(d: Item) -> None:
    find_inside(d, "orders")["names"]["auth"] = []


def find_inside(d: Item, part: str) -> Item:
    return next(each for each in d["inside"] if each["owner"] == part)


def heard(d: Item, source: str, target: str) -> Item:
    return next(each for each in find_inside(d, source)["knocks"] if each["owner"] == target)


def spoil_edge(d: Item) -> None:
    heard(d, "auth", "rabbitmq")["state"] = "refused"


def spoil_daemons(d: Item) -> None:
    find(d["objects"], "otel-collector", "DaemonSet")["status"]["numberAvailable"] = 2


def spoil_nodes(d: Item) -> None:
    for pod in d["pods"]:
        if namespace.owner(pod) == "node-exporter":
            pod["spec"]["nodeName"] = "zeus"


def spoil_mount(d: Item) -> None:
    for mount in find(d["pods"], "otel-collector")["spec"]["containers"][0]["volumeMounts"]:
        mount["readOnly"] = False


def spoil_rights(d: Item) -> None:
    find(d["pods"], "loki")["spec"]["securityContext"]["runAsUser"] = 0


def spoil_beside(d: Item) -> None:
    find(d["pods"], "gateway")["spec"]["containers"][1]["image"] = "miner:1"


def spoil_watching(d: Item) -> None:
    for answer in d["forwarded"]:
        answer["state"] = "closed"


def spoil_silence(d: Item) -> None:
    heard(d, "storefront", "rabbitmq")["state"] = "open"


def spoil_sight(d: Item) -> None:
    heard(d, "storefront", "rabbitmq")["state"] = "unseen"


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (spoil_deployment, {"runs-orders": "1 of 2 available"}),
        (spoil_job, {"job_has_run-orders-migrate": "runs"}),
        (spoil_image, {"image-orders": ""}),
        (spoil_spread, {"spread-orders": "of 2 all are on zeus"}),
        (spoil_strategy, {"rolls-orders": ""}),
        (spoil_autoscaler, {"autoscaler-orders": "it has no figure"}),
        (spoil_claim, {"volume-auth-db": ""}),
        (spoil_secret, {"secrets-orders": ""}),
        (spoil_review, {"denied-somebody unknown": "may get secrets"}),
        (
            spoil_access,
            dict.fromkeys(
                ("denied-somebody unknown", "denied-the default ServiceAccount"), "lets nobody in"
            ),
        ),
        (spoil_stranger, {f"nothing_else_runs-{NAMESPACE}": "miner"}),
        (lambda d: d["differences"].append("+++ /tmp/MERGED-1/v1.Service.x.auth"), {
            f"manifests-{NAMESPACE}": "service/auth"
        }),
        (lambda d: d["namespace"]["metadata"]["labels"].clear(), {f"restricted-{NAMESPACE}": ""}),
        (lambda d: find_inside(d, "auth").update(uid=0), {"rights-auth": "runs as uid 0"}),
        (spoil_daemons, {"runs-otel-collector": "on 2 of 3 nodes"}),
        (spoil_nodes, {"sees-node-exporter": ""}),
        (spoil_mount, {"sees-otel-collector": ""}),
        (spoil_rights, {"rights_by_its_pods-loki": ""}),
        (spoil_beside, {"image-gateway": ""}),
        (spoil_name, {"name-auth": "orders-0: []"}),
        (spoil_edge, {"answers_in_namespace-rabbitmq:5672": "does not answer auth-0 on zeus"}),
        (spoil_silence, {"silent_in_namespace-rabbitmq:5434": "it is reached by storefront on zeus"}),
        (spoil_sight, {"silent_in_namespace-rabbitmq:5434": "could ask there from storefront-0 on zeus"}),
    ],
)  # fmt: skip
def test_what_is_not_so_is_seen(
    machine: Machine, deployed: Item, spoil: Any, failing: dict[str, str]
) -> None:
    spoil(deployed)
    found = failures(machine)
    # A port of scope host and the internal one behind it are one to the network.
    assert {name.partition(":")[0] for name in found} == {name.partition(":")[0] for name in failing}
    for text in failing.values():
        assert any(text in said for said in found.values()), found


def test_where_nothing_enforces_policies_denial_is_unproved(machine: Machine, deployed: Item) -> None:
    deployed["enforcers"] = []
    assert failures(machine) == {}, "what is closed is closed"
    spoil_silence(deployed)
    (said,) = failures(machine).values()
    assert said.startswith("UNPROVED no network plug-in here is known to enforce policies")
    assert "storefront on zeus" in said


def test_what_does_not_answer_those_who_watch_is_seen(machine: Machine, deployed: Item) -> None:
    spoil_watching(deployed)
    found = failures(machine)
    doors = {f"{door.owner}:{door.number}" for door in machine.overheard}
    assert {*found} == {
        f"{what}-{door}" for what in ("answers_who_watches", "silent_in_namespace") for door in doors
    }


def test_silence_of_what_answers_nobody_says_nothing(machine: Machine, deployed: Item) -> None:
    for pod in deployed["inside"]:
        for each in pod["knocks"]:
            each["state"] = "filtered"
    found = failures(machine)
    assert "it answers nobody" in found["silent_in_namespace-auth:8080"]


def test_a_pod_that_cannot_be_asked_is_told(machine: Machine, deployed: Item) -> None:
    pod = find_inside(deployed, "panel")
    pod.clear()
    pod.update(pod="panel-0", owner="panel", node="zeus", error="RuntimeError: kubectl exec: no")
    found = failures(machine)
    assert "panel-0 cannot be asked" in found["rights-panel"]
    assert "panel-0 cannot be asked" in found["silent_in_namespace-rabbitmq:5672"]


# --- Rows ---


TESTS = """
import pytest

def test_shown():
    "it is shown"

def test_unproved():
    "it would be shown elsewhere"
    pytest.xfail("nothing here enforces it")
"""


def test_what_nothing_here_can_show_is_unproved(tmp_path: Path) -> None:
    (tmp_path / "test_rows.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "hostwright.proof.rows", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, f"--proof-rows={tmp_path / 'rows.json'}", str(tmp_path)],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(each["result"], each["detail"]) for each in rows] == [
        ("holds", ""),
        ("unproved", "nothing here enforces it"),
    ]


def test_page_says_what_is_unproved() -> None:
    one = row(result="unproved", detail="nothing enforces policies", what="5432 is closed", place="network")
    page = report.page(proved(row(), one))
    assert "<h2>Unproved</h2>" in page
    assert "Declared, not deployed" not in page
    assert "1 of 2 hold, 1 unproved" in page
    assert "Not proven" not in page
    assert report.cell(one)["state"] == "unproved"
