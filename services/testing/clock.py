"""A clock that is wrong: Debian's libfaketime, which the dynamic linker puts before a process's own."""

from __future__ import annotations

from pathlib import Path, PurePath

PRELOADED = "libfaketime.so.1"


def library() -> Path:
    """The library on this machine. Raises FileNotFoundError with what to do."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{PRELOADED}"))
    if not found:
        raise FileNotFoundError("libfaketime is not here: apt-get install libfaketime")
    return found[0]


def faked(preloaded: PurePath, offset: PurePath) -> dict[str, str]:
    """The environment of a process whose time is off by what the file `offset` says at that moment: `+3600`.

    Its monotonic clock is true. The file is to be replaced and not written: it is read all the time.
    """
    return {
        "LD_PRELOAD": str(preloaded),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
