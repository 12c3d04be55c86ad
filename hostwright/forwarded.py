"""Questions to what is of a cluster's own network alone, asked by `kubectl port-forward` from a server."""

from __future__ import annotations

from typing import Any

from hostwright.reached import Cluster, answer

# Run by a server's own Python, with a path and the command that forwards a port.
ASK = """
import os, re, signal, subprocess, sys, urllib.request
path, *command = sys.argv[1:]
pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
# MicroK8s' command is a row of scripts, of which the last one has to end too.
process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
try:
    said = ""
    for said in process.stdout:
        if local := re.match(r"Forwarding from (127\\.0\\.0\\.1:\\d+) ->", said):
            with urllib.request.urlopen(f"http://{local[1]}{path}", timeout=30) as answered:
                sys.stdout.write(answered.read().decode())
            break
    else:
        sys.exit(said.strip() or "nothing was forwarded")
except OSError as error:
    sys.exit(str(error))
finally:
    os.killpg(process.pid, signal.SIGKILL)
"""


def ask(cluster: Cluster, service: str, port: int, path: str) -> Any:
    """What a Service answers in JSON. Raises Failure with the reason for which it does not."""
    where = ("--address=127.0.0.1", "--pod-running-timeout=10s", f"service/{service}", f":{port}")
    told = cluster.run("python3", "-c", ASK, path, *cluster.kubectl("port-forward", *where))
    return answer(told, cluster.host.name)
