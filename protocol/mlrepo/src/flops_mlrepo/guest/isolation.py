"""No network for the code: a namespace of its own, with nothing in it but its loopback (network_namespaces(7))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP = 0x8914, 0x1


def leave_the_network() -> str:
    """Leaves the network for good, if this machine allows it; why not, where it does not, else an empty text.

    Only a process with one thread can do so without being root: to be called before anything that starts threads.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        if libc.unshare(_NEW_NET) != 0:
            if libc.unshare(_NEW_USER | _NEW_NET) != 0:
                return os.strerror(ctypes.get_errno())
            _stay(user, group)
        _raise_loopback()
    except (OSError, AttributeError) as error:
        return error.strerror or errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else str(error)
    return ""


def _stay(user: int, group: int) -> None:
    """Keeps who we are in the new user namespace (user_namespaces(7))."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not loaded yet
            file.write(text)


def _raise_loopback() -> None:
    """Code that talks to itself may go on doing so (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
