"""What runs on a node: the cluster agent, the API, kubelet, database, and a worker's way to the API."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from . import etcd, kubernetes, objects, tls
from .database import Database, Document, NoLeader
from .node import AGENT, API, DATABASE, KUBELET, Node

# Asked by the health checks of the host alone.
LOCAL = (10257, 10259)
DEPLOYMENT = re.compile(r"/apis/apps/v1/namespaces/(?P<namespace>[^/]+)/deployments/(?P<name>[^/]+)")
Answer = tuple[int, Any]


def run(node: Node, daemon: str) -> None:
    """Run one until it is killed; it ends at once where the node's locks say that it is not for here."""
    if not node.expects(daemon):
        return
    if node.real and daemon in kubernetes.DAEMONS:
        kubernetes.run(node, daemon)
    begin(node, daemon)
    threading.Event().wait()


def begin(node: Node, daemon: str) -> list[ThreadingHTTPServer]:
    """Start one in threads of this process, and give its servers."""
    match daemon:
        case "cluster-agent":
            return [_serve(node, node.bind, AGENT, partial(_agent, node))]
        case "k8s-dqlite":
            return _database(node)
        case "kubelite":
            return _kubelite(node)
        case "apiserver-proxy":
            threading.Thread(target=_proxy, args=(node,), daemon=True).start()
    return []


def token_is_good(node: Node, token: str) -> bool:
    """Whether a join token lets its bearer in. One without an end is spent by that, whatever comes after."""
    try:
        if token == node.read("credentials/persistent-cluster-token"):
            return True
    except FileNotFoundError:
        pass
    try:
        lines = node.read("credentials/cluster-tokens.txt").splitlines()
    except FileNotFoundError:
        return False
    now, good, left = time.time(), False, []
    for line in lines:
        known, _, end = line.partition("|")
        if known == token and not good and (not end or now < int(end)):
            good = True
            if not end:
                continue
        left.append(line)
    node.write("credentials/cluster-tokens.txt", "".join(f"{line}\n" for line in left))
    return good


# --- the cluster agent ---


def _agent(node: Node, method: str, path: str, body: Any, token: str, remote: str) -> Answer:
    if (method, path) == ("POST", "/standin/members") and node.real:
        if token != node.read("var/kubernetes/backend/cluster.key"):
            return 403, {"error": "unknown certificate"}
        return 200, etcd.Etcd(node).admit(body["name"], body["address"])
    if (method, path) != ("POST", "/cluster/api/v2.0/join"):
        return 404, {"error": "not found"}
    if node.worker:
        return 500, {"error": "Invalid token"}
    if not token_is_good(node, body["token"]):
        return 500, {"error": "Invalid token"}
    if remote not in _addresses(body["hostname"]):
        what = f'The hostname ({body["hostname"]}) of the joining node does not resolve to the IP "{remote}"'
        return 400, {"error": f"{what}. Refusing join"}
    database = etcd.of(node)
    members = [each["address"] for each in database.read()["members"]]
    if f"{remote}:{DATABASE}" in members:
        return 504, {"error": f"the joining node ({remote}) is already known to dqlite"}
    if members == [f"127.0.0.1:{DATABASE}"]:
        database.move(f"{node.address}:{DATABASE}")
    document = database.read()
    answer = {
        "ca": node.read("certs/ca.crt"),
        "admin_token": node.admin_token,
        "hostname_override": remote,
        "apiport": str(API),
        "servers": [each["address"].rpartition(":")[0] for each in document["members"]],
    }
    if body["worker"]:
        return 200, answer
    keys = {
        "ca_key": node.read("certs/ca.key"),
        "cluster_key": node.read("var/kubernetes/backend/cluster.key"),
        "voters": [each["address"] for each in document["members"] if each["role"] == "voter"],
        **({"service_account_key": kubernetes.service_account(node)} if node.real else {}),
    }
    return 200, answer | keys


def _addresses(name: str) -> set[str]:
    try:
        return {str(each[4][0]) for each in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError:
        return set()


# --- the database ---


def _database(node: Node) -> list[ThreadingHTTPServer]:
    """On the address it is a member by; another one, when that changes."""
    database = Database(node)
    threading.Thread(target=_become_member, args=(node, database), daemon=True).start()
    servers: list[ThreadingHTTPServer] = []

    def listen() -> None:
        bound = ""
        while True:
            wanted = node.bind_address if (node.backend / "info.yaml").exists() else bound
            if wanted != bound:
                for server in servers:
                    server.shutdown()
                    server.server_close()
                host = wanted.rpartition(":")[0]
                # On loopback nobody else asks, so where several nodes share one, each has its own.
                host = node.here if host == "127.0.0.1" else host
                servers[:] = [_serve(node, host, DATABASE, partial(_database_answer, node, database))]
                bound = wanted
            time.sleep(0.1)

    threading.Thread(target=listen, daemon=True).start()
    return servers


def _database_answer(
    node: Node,
    database: Database,
    method: str,
    path: str,
    body: Any,
    token: str,
    remote: str,  # noqa: ARG001
) -> Answer:
    if token != node.read("var/kubernetes/backend/cluster.key"):
        return 403, {"error": "unknown certificate"}
    match method, path:
        case "GET", "/database":
            return 200, database.held()
        case "POST", "/database":
            return 200, database.take(body)
        case "POST", "/members":
            return 200, database.add(body["address"])
    return 404, {"error": "not found"}


def _become_member(node: Node, database: Database) -> None:
    init = node.backend / "init.yaml"
    while init.exists():
        told = json.loads(init.read_text())
        try:
            database.join(told["Cluster"], told["Address"])
            init.unlink()
        except NoLeader:
            time.sleep(0.5)


# --- API and kubelet ---


def _kubelite(node: Node) -> list[ThreadingHTTPServer]:
    threading.Thread(target=_register, args=(node,), daemon=True).start()
    servers = [_serve(node, node.bind, KUBELET, partial(_kubelet, node))]
    if not node.worker:
        servers += [_serve(node, node.bind, API, partial(_api, node))]
        servers += [_serve(node, node.bind, port, lambda *_: (200, "ok")) for port in LOCAL]
    return servers


def _kubelet(node: Node, *_: Any) -> Answer:
    return 200, {"name": node.name}


def _register(node: Node) -> None:
    """Say once that the node is there; who is removed while it runs stays removed."""
    told = {"name": node.name, "address": node.address, "version": node.version, "worker": node.worker}
    while True:
        try:
            objects.request(node, "POST", "/api/v1/nodes", told)
            return
        except (OSError, tls.Refused):
            time.sleep(0.5)


def _api(node: Node, method: str, path: str, body: Any, token: str, remote: str) -> Answer:  # noqa: ARG001
    database = Database(node)
    if path in ("/readyz", "/livez"):
        database.read()
        return 200, "ok"
    if path == "/version":
        return 200, {"gitVersion": node.version}
    if token != node.admin_token:
        return 401, objects.failure("Unauthorized", 401)
    kind, _, name = path.removeprefix("/api/v1/").removeprefix("/apis/apps/v1/").partition("/")
    if method == "GET" and not name and kind in objects.LISTS:
        return 200, objects.listed(kind, database.read())
    if method == "PATCH" and (place := DEPLOYMENT.fullmatch(path)):
        try:
            database.change(partial(objects.patch, place["namespace"], place["name"], body["spec"]))
        except KeyError:
            return 404, objects.failure(f'deployments.apps "{place["name"]}" not found', 404)
        return 200, {}
    if kind != "nodes" or (name and method != "POST" and name not in database.read()["nodes"]):
        return 404, objects.failure(f'{kind} "{name}" not found', 404)
    if method == "GET":
        return 200, objects.node(name, database.read()["nodes"][name])
    database.change(partial(_changed, method, name, body))
    return 200, {}


def _changed(method: str, name: str, body: Any, document: Document) -> None:
    nodes = document["nodes"]
    match method:
        case "POST":
            nodes[body["name"]] = nodes.get(body["name"], {"unschedulable": False}) | body
        case "PATCH":
            nodes[name]["unschedulable"] = body["spec"]["unschedulable"]
        case "DELETE":
            del nodes[name]


def _proxy(node: Node) -> None:
    """A worker's loopback has the API: of the first server that answers."""
    listener = socket.create_server((node.here, API))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_forward, args=(node, connection), daemon=True).start()


def _forward(node: Node, connection: socket.socket) -> None:
    for address in json.loads(node.read("args/traefik/provider.yaml")):
        try:
            server = socket.create_connection((address, API), timeout=2)
        except OSError:
            continue
        server.settimeout(None)
        threading.Thread(target=_pump, args=(connection, server), daemon=True).start()
        _pump(server, connection)
        return
    connection.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


# --- serving ---


def _serve(node: Node, host: str, port: int, answer: Callable[..., Answer]) -> ThreadingHTTPServer:
    """JSON over TLS, in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            try:
                path = urlsplit(self.path).path
                status, said = answer(self.command, path, body, token, self.client_address[0])
            except NoLeader as error:
                status, said = 500, objects.failure(f"rpc error: code = Unknown desc = {error}", 500)
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's own looks its name up, and nobody may answer

        def finish_request(self, request: Any, client: Any) -> None:
            # Here, in the request's own thread, so that who connects and says nothing holds nobody up.
            request.settimeout(10)
            try:
                super().finish_request(context.wrap_socket(request, server_side=True), client)
            except OSError:
                request.close()

    context = tls.serving(node.data / "certs")
    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server
