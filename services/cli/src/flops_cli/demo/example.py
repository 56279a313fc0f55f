"""The examples of this repository, and one of them as a Git repository of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

from anyio import run_process, to_thread
from flops_protocol.errors import FlopsError

EXAMPLES = ("digits-sklearn", "digits-numpy")
_AUTHOR = {
    "GIT_AUTHOR_NAME": "flops demo",
    "GIT_AUTHOR_EMAIL": "demo@localhost",
    "GIT_COMMITTER_NAME": "flops demo",
    "GIT_COMMITTER_EMAIL": "demo@localhost",
    # Neither hooks nor signing of the user's own settings.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class ExamplesMissing(Exception):  # noqa: N818 - it is a fact about the place, said to a person
    """Raised when the examples are not where this program can see them."""


def find(name: str) -> Path:
    """The folder of an example: in the clone that this program was installed from, or that we are in.

    :raises ExamplesMissing: when there is none
    """
    for root in _roots():
        if (root / "examples" / name).is_dir():
            return root / "examples" / name
    raise ExamplesMissing(
        f"The example {name} was not found: the demo runs from a clone of flops-mesh, or any folder below it."
    )


async def make_repository(example: Path, target: Path) -> str:
    """Copies an example and commits it; returns the commit.

    :raises FlopsError: FLOPS-P010 when Git is missing or fails
    """
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "sla*.json", ".git")
    await to_thread.run_sync(lambda: shutil.copytree(example, target, ignore=ignore))
    await _git(target, "init", "--quiet", "--initial-branch=main")
    await _git(target, "add", "--all")
    await _git(target, "commit", "--quiet", "--message", f"The {example.name} example")
    return await _git(target, "rev-parse", "HEAD")


async def _git(folder: Path, *arguments: str) -> str:
    try:
        done = await run_process(["git", *arguments], cwd=folder, env=os.environ | _AUTHOR)
    except FileNotFoundError as error:
        raise FlopsError("FLOPS-P010", "git is not installed", hint="Install Git, then run the demo again.") from error
    except CalledProcessError as error:
        raise FlopsError(
            "FLOPS-P010", f"git {arguments[0]}: {error.stderr.decode(errors='replace').strip()}"
        ) from error
    return done.stdout.decode().strip()


def _roots() -> Iterator[Path]:
    yield from Path(__file__).resolve().parents
    here = Path.cwd()
    yield here
    yield from here.parents
