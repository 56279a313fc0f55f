"""The smoke round of an environment that only its own image can run."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import anyio
from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.host import SMOKE_CODES
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from flops_builder.engine.interface import Engine, Errand, Line
from flops_builder.image.files import ROOT
from flops_builder.sdist.sandbox import Limits

WORKER = Path(__file__).with_name("smoke_worker.py")
ROOM = "opt/flops-smoke"


async def smoke_in_engine(
    engine: Engine,
    image: str,
    platform: Platform,
    environment: Path,
    code: Path,
    limits: Limits,
    folder: Path,
    on_line: Line,
) -> int:
    """Constructs the code's managers in a container of the image, without a network. How many parameter arrays it has.

    :param environment: our own part of the ML environment
    :param folder: scratch; must be there
    :raises FlopsError: FLOPS-B011, B012 and FLOPS-B030 to FLOPS-B035, with file and line where the code has them
    """
    files = folder / "smoke.tar"
    await anyio.to_thread.run_sync(_pack, environment, code, files)
    command = ["python3", "-I", "-S", "-B", "-X", "utf8", f"/{ROOM}/smoke_worker.py", f"/{ROOM}/out/answer.json"]
    command += [f"/{ROOT}/mlenv", f"/{ROOT}/code"]
    variables = ("HOME=/tmp", "MPLCONFIGDIR=/tmp", "LANG=C.UTF-8")
    errand = Errand(image, platform, tuple(command), limits, files, f"/{ROOM}/out", f"/{ROOT}/code", variables)
    done = await engine.run(errand, folder, on_line)
    if done.over:
        raise FlopsError("FLOPS-B035" if "memory" in done.over else "FLOPS-B033", f"in the smoke round {done.over}")
    try:
        answer = json.loads(await anyio.Path(folder / "out" / "answer.json").read_text())
        if "fault" not in answer:
            return int(answer["arrays"])
        fault = answer["fault"]
        kind, detail = WorkerFault(fault["kind"]), str(fault["detail"])[:4000]
        file, line = fault.get("file"), fault.get("line")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        said = "\n".join(done.lines[-10:])
        detail = f"the code ended its process with exit code {done.returncode}: {said}"
        raise FlopsError("FLOPS-B034", detail[:4000]) from None
    for each in str(fault.get("trace", "")).splitlines()[-20:]:
        on_line(each)
    place = str(file)[:500] if file else None
    raise FlopsError(SMOKE_CODES[kind], detail, file=place, line=line if isinstance(line, int) and line > 0 else None)


def _pack(environment: Path, code: Path, target: Path) -> None:
    with tarfile.open(target, "w") as tar:
        for name in ("opt", ROOT, ROOM, f"{ROOM}/out"):
            made = tarfile.TarInfo(name)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
        tar.add(WORKER, f"{ROOM}/smoke_worker.py", filter=_plain)
        tar.add(environment, f"{ROOT}/mlenv", filter=_plain)
        tar.add(code, f"{ROOT}/code", filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    return member
