"""One run at a time is at work on an application's folder of a host."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

LOCK = ".lock"  # in the folder: locked by who works there, whose process id is in it


def alone(module: Any, folder: str | Path, patience: float) -> None:
    """Keep others off the folder until this process ends, however it does; or fail with who is there.

    `patience`: seconds in which another one may end. What a run that was killed has begun on the host goes on
    for a while, and cannot be told from what somebody still waits for.
    """
    lock = os.open(Path(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)  # which no child inherits
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                who = os.pread(lock, 20, 0).decode().strip()
                what = f"another run is at work on {folder} of this host, as process {who}"
                module.fail_json(msg=f"{what}, and nothing was touched. Run this again when that has ended")
            time.sleep(0.5)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
