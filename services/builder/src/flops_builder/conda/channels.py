"""Where conda packages come from: what the machine has configured, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import rattler

from flops_builder.conda.condarc import Condarc, read_condarc

TOKEN = re.compile(r"/t/[^/]+")
NO_DEFAULTS = "nodefaults"


@dataclass(frozen=True)
class Channel:
    """A channel that may be asked."""

    name: str
    """What people call it."""
    url: str
    """With whatever it takes to get in; ends with a slash."""

    @property
    def public(self) -> str:
        """The address as it may be shown and kept: without credentials, and of a folder only its name."""
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            return f"file:{Path(parts.path).name}/"
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, TOKEN.sub("", parts.path), "", ""))


@dataclass(frozen=True)
class Channels:
    """The channels of this machine."""

    configured: tuple[Channel, ...] = ()
    """Those that are asked for every file, the most important first."""
    named: Mapping[str, tuple[Channel, ...]] | None = None
    """Further ones that a file may name, by name."""

    def __bool__(self) -> bool:
        return bool(self.configured or self.named)

    def for_file(self, wanted: Sequence[str]) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
        """The channels for a file that names these, the most important first, and the names that are not allowed.

        As with conda, what the file names comes before what is configured; with `nodefaults`, instead of it.
        """
        chosen: list[Channel] = []
        refused: list[str] = []
        for name in wanted:
            found = self.find(name)
            chosen += found
            if not found and name != NO_DEFAULTS:
                refused.append(name)
        if NO_DEFAULTS not in wanted or not chosen:
            chosen += self.configured
        if not chosen:
            chosen += [each for found in (self.named or {}).values() for each in found]
        return tuple(dict.fromkeys(chosen)), tuple(refused)

    def find(self, name: str) -> tuple[Channel, ...]:
        """The channels of a name or an address, as far as they are allowed; empty otherwise."""
        if found := (self.named or {}).get(name):
            return found
        public = Channel(name, _with_slash(name)).public if ":" in name else None
        return tuple(each for each in self.configured if each.name == name or each.public == public)

    def locate(self, public: str) -> str | None:
        """The address of a package that is kept by its public one; None when no channel here has it."""
        everything = (*self.configured, *(each for found in (self.named or {}).values() for each in found))
        for each in everything:
            if public.startswith(each.public):
                return each.url + public.removeprefix(each.public)
        return None


def site_channels(
    wanted: Sequence[str], names: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Channels:
    """The channels of this machine: the builder's own settings, else conda's.

    :param wanted: names or addresses, the most important first
    :param names: addresses by name
    """
    condarc = read_condarc(environment)
    known = {name: tuple(_channel(name, each) for each in addresses) for name, addresses in names.items()}
    for name, addresses in condarc.custom_multichannels.items():
        known.setdefault(name, tuple(_channel(name, each, condarc) for each in addresses))
    for name, address in condarc.custom_channels.items():
        known.setdefault(name, (_channel(name, f"{address.rstrip('/')}/{name}"),))
    if condarc.default_channels:
        known.setdefault("defaults", tuple(_channel("defaults", each, condarc) for each in condarc.default_channels))
    configured: list[Channel] = []
    for each in wanted or condarc.channels:
        configured += known.get(each) or (_channel(each, each, condarc),)
    return Channels(tuple(dict.fromkeys(configured)), known)


def _channel(name: str, address: str, condarc: Condarc | None = None) -> Channel:
    if address.startswith("/"):
        address = Path(address).as_uri()
    elif address.startswith("file:") and not address.startswith("file://"):
        address = Path(address.removeprefix("file:")).absolute().as_uri()
    elif ":" not in address:
        # A bare name is below conda's alias, or else where every conda takes it from.
        alias = condarc.channel_alias if condarc else None
        address = f"{alias.rstrip('/')}/{address}" if alias else rattler.Channel(address).base_url
    name = urlsplit(address).path.rstrip("/").rpartition("/")[2] if {":", "/"} & {*name} else name
    return Channel(name, _with_slash(address))


def _with_slash(address: str) -> str:
    return f"{address.rstrip('/')}/"
