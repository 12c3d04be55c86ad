"""Certificates, made by the node's openssl, and JSON asked for over TLS."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

# Without these Python 3.13 believes no certificate.
LEAF = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Refused(Exception):
    """The other side answered, and not with 200; the text is its own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def make_authority(folder: Path) -> None:
    """ca.crt and ca.key, good for ten years."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    paths = ("-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    _openssl("req", "-x509", *CURVE, "-days", "3650", "-subj", "/CN=10.152.183.1", *usage, *paths)
    (folder / "ca.key").chmod(0o600)


def make_certificate(folder: Path, names: list[str]) -> None:
    """server.crt and server.key for names and addresses, signed by the folder's authority, for a year."""
    alternatives = ",".join(f"{'IP' if _address(name) else 'DNS'}:{name}" for name in dict.fromkeys(names))
    request = folder / "server.csr"
    _openssl(
        "req", "-new", *CURVE, "-subj", "/CN=127.0.0.1", "-keyout", folder / "server.key", "-out", request
    )
    extensions = folder / "server.ext"
    extensions.write_text(f"subjectAltName={alternatives}\n{LEAF}")
    signing = (
        "-CA",
        folder / "ca.crt",
        "-CAkey",
        folder / "ca.key",
        "-CAcreateserial",
        "-extfile",
        extensions,
    )
    _openssl("x509", "-req", "-in", request, "-days", "365", *signing, "-out", folder / "server.crt")
    (folder / "server.key").chmod(0o600)
    for left in (request, extensions):
        left.unlink()


def days_left(certificate: Path) -> int:
    """How many days a certificate is good for."""
    end = _openssl("x509", "-noout", "-enddate", "-in", certificate).partition("=")[2].strip()
    return int(ssl.cert_time_to_seconds(end) - time.time()) // 86400


def fingerprint(certificate: Path) -> str:
    """What the last part of a join URL is compared with."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def serving(folder: Path) -> ssl.SSLContext:
    """For a server with the certificate of the folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


def ask(
    method: str,
    address: str,
    path: str,
    body: Any = None,
    *,
    token: str = "",
    authority: Path | None = None,
    peer: str = "",
    source: str = "",
    timeout: float = 5,
) -> Any:
    """JSON of HOST:PORT/PATH. Refused for another status than 200; OSError where nobody answers.

    Checks the other's certificate by an authority, or by the beginning of its fingerprint (PermissionError).
    """
    context = ssl.create_default_context(cafile=authority) if authority else ssl._create_unverified_context()  # noqa: S323
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(
        host, int(port), context=context, timeout=timeout, source_address=(source, 0) if source else None
    )
    try:
        connection.connect()
        if peer:
            certificate = connection.sock.getpeercert(True)
            if not hashlib.sha256(certificate or b"").hexdigest().startswith(peer):
                raise PermissionError(host)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
    if response.status != 200:
        raise Refused(response.status, text)
    return json.loads(text)


def _openssl(*words: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
