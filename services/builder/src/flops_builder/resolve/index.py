"""Where packages come from: the site's own index settings, pip's included, as uv wants to be told.

uv reads its own settings (`UV_*`, uv.toml, netrc) by itself, but none of pip's. A machine that has pip set up for its
site has everything that is needed; we translate it. What uv is told outright always wins.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SECTIONS = ("global", "install")
LISTS = frozenset({"extra-index-url", "find-links", "constraint", "trusted-host"})
TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})
PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "LANG",
    "NETRC",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)
PREFIXES = ("UV_", "SSL_", "CURL_", "REQUESTS_")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Index:
    """How uv is called so that it uses the site's package indexes."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    find_links: tuple[str, ...]
    constraints: tuple[Path, ...] = ()
    cpu: tuple[str, ...] = ("--torch-backend=cpu",)
    """What has uv take PyTorch's builds for the CPU: from PyTorch's own index, or from another one."""

    def for_cpu(self, place: str | None) -> Index:
        """The same with an index, or a folder of wheels, for PyTorch's CPU builds; None: PyTorch's own index."""
        if place is None:
            return self
        option = f"--find-links={place}" if Path(place).is_dir() else f"--index={place}"
        return replace(self, cpu=(option, "--index-strategy=unsafe-best-match"))

    def once(self) -> Index:
        """The same for a question to which no answer is one, too: it is not asked again."""
        return replace(self, environment={**self.environment, "UV_HTTP_RETRIES": "0"})

    def with_options(self, options: Sequence[str]) -> Index:
        """The same with indexes that a repository names for its own packages, asked as pip asks them."""
        if not options:
            return self
        strategy = "--index-strategy=unsafe-best-match"
        arguments = (*self.arguments, *options, *(() if strategy in self.arguments else (strategy,)))
        return replace(self, arguments=arguments)

    @property
    def fingerprint(self) -> str:
        """Changes when another index is used; a lock from another index is another lock."""
        named = {
            name: value
            for name, value in self.environment.items()
            if (name.startswith("UV_") and "INDEX" in name) or name == "UV_FIND_LINKS"
        }
        limits = [file.read_bytes().hex() for file in self.constraints if file.is_file()]
        return hashlib.sha256(repr((self.arguments, sorted(named.items()), limits)).encode()).hexdigest()


def site_index(environment: Mapping[str, str], cache: Path) -> Index:
    """Reads the settings of this machine. `cache` holds uv's cache where neither the user nor uv has one."""
    pip = _pip_settings(environment)
    arguments: list[str] = []
    passed = {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name in PROXIES or name.startswith(PREFIXES)
    }
    find_links = [*environment.get("UV_FIND_LINKS", "").split(","), *pip.get("find-links", [])]
    has_index = any(name in environment for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"))
    if "index-url" in pip and not has_index:
        arguments.append(f"--default-index={pip['index-url'][-1]}")
    if "extra-index-url" in pip and not any(name in environment for name in ("UV_EXTRA_INDEX_URL", "UV_INDEX")):
        arguments += [f"--index={url}" for url in pip["extra-index-url"]]
        # pip takes the best version of all indexes; uv's default is the first index that has the package at all.
        if "UV_INDEX_STRATEGY" not in environment:
            arguments.append("--index-strategy=unsafe-best-match")
    if "find-links" in pip and "UV_FIND_LINKS" not in environment:
        arguments += [f"--find-links={place}" for place in pip["find-links"]]
    if pip.get("no-index", ["0"])[-1].lower() in TRUE:
        arguments.append("--no-index")
    arguments += [
        f"--allow-insecure-host={host}" for host in pip.get("trusted-host", []) if "UV_INSECURE_HOST" not in environment
    ]
    if "cert" in pip and "SSL_CERT_FILE" not in passed:
        passed["SSL_CERT_FILE"] = pip["cert"][-1]
    if "timeout" in pip and "UV_HTTP_TIMEOUT" not in environment:
        passed["UV_HTTP_TIMEOUT"] = pip["timeout"][-1].partition(".")[0]
    constraints = (
        []
        if "UV_CONSTRAINT" in environment
        else [Path(file) for file in pip.get("constraint", []) if "://" not in file]
    )
    if "UV_CACHE_DIR" not in passed and not (environment.get("HOME") or environment.get("XDG_CACHE_HOME")):
        passed["UV_CACHE_DIR"] = str(cache / "uv")
    # uv asks the name server twice a call. A lost question costs glibc 5 s; asked again after 1 s, it is as patient.
    passed.setdefault("RES_OPTIONS", environment.get("RES_OPTIONS", "timeout:1 attempts:5"))
    passed |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    return Index(tuple(arguments), passed, tuple(place for place in find_links if place), tuple(constraints))


def _pip_settings(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """pip's settings by their long names: files first, then the environment (pip's "Configuration")."""
    settings: dict[str, list[str]] = {}
    for file in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip would say so to who calls pip; it is not ours to complain about
        for section in SECTIONS:
            if parser.has_section(section):
                for key, value in parser.items(section):
                    settings[key.replace("_", "-")] = value.split()
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            key = name[4:].lower().replace("_", "-")
            settings[{"default-timeout": "timeout"}.get(key, key)] = value.split()
    return {key: values if key in LISTS else values[-1:] for key, values in settings.items() if values}


def _pip_files(environment: Mapping[str, str]) -> list[Path]:
    explicit = environment.get("PIP_CONFIG_FILE")
    if explicit == os.devnull:
        return []
    home = Path(environment.get("HOME", "/nonexistent"))
    system = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    files = [Path(folder) / "pip" / "pip.conf" for folder in system.split(":") if folder]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf"]
    files.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    return files + ([Path(explicit)] if explicit else [])
