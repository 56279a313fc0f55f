"""This machine, as opposed to what is written down about it."""

from __future__ import annotations

from pathlib import Path


def boot_id() -> str:
    """This run of the machine: another one after a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
