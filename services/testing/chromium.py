#!/usr/bin/env python3
"""Chromium that hears nothing of the machine's network interfaces; arguments are its own.

It drops what it is loading over HTTP/2 whenever an interface appears (ERR_NETWORK_CHANGED), and containers
that are started beside it make interfaces all the time. It is told of them over netlink: a seccomp filter
(seccomp(2); layouts of linux/seccomp.h and linux/filter.h) refuses such sockets with EAFNOSUPPORT.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

CHROMIUM = "/usr/bin/chromium-headless-shell"  # a third of the CPU: no windows, no menus
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
NUMBER, FAMILY = 0, 16  # offsets in struct seccomp_data: the call's number, its first argument
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
SOCKET = {"x86_64": 41, "aarch64": 198}  # the call's number

FILTER = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_EQUAL, 0, 3, SOCKET[platform.machine()]),
    (LOAD, 0, 0, FAMILY),
    (JUMP_EQUAL, 0, 1, socket.AF_NETLINK),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]


def refuse_netlink() -> None:
    """For this process and its children, until they end."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in FILTER))
    header = struct.pack("HP", len(FILTER), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse_netlink()
    os.execv(CHROMIUM, [CHROMIUM, *sys.argv[1:]])  # noqa: S606  # its launcher is a script of its own
