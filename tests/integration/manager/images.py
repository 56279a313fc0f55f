"""Images for tests: an OCI layout whose actors are the scripted one."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("scripted_actor.py")
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
PLATFORM = f"linux/{ARCHITECTURE}"


class Layout:
    """An OCI image layout folder that a test fills."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.write_index([])

    @property
    def registry(self) -> str:
        return f"oci:{self.folder}"

    def write_index(self, manifests: list[dict[str, Any]]) -> None:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))

    def blob(self, content: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content), **more}

    def document(self, value: Any, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), **more)

    def layer(self, files: dict[str, bytes]) -> dict[str, Any]:
        return self.blob(tar(files), mediaType="application/vnd.oci.image.layer.v1.tar")

    def image(
        self, layers: list[dict[str, Any]], command: list[str], *, architecture: str = ARCHITECTURE, **config: Any
    ) -> dict[str, Any]:
        """The descriptor of an image index with one platform."""
        configuration = self.document({"config": {"Entrypoint": command, **config}})
        manifest = self.document({"schemaVersion": 2, "config": configuration, "layers": layers})
        entry = manifest | {"platform": {"os": "linux", "architecture": architecture}}
        return self.document({"schemaVersion": 2, "manifests": [entry]})

    def reference(self, descriptor: dict[str, Any], repository: str = "test/learner") -> dict[str, Any]:
        return {
            "registry": self.registry,
            "repository": repository,
            "digest": descriptor["digest"],
            "platforms": [PLATFORM],
        }


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def scripted_images(folder: Path) -> Layout:
    """A layout with the images of scripted actors, which their builder finds in `images.json`."""
    layout = Layout(folder)
    spec = find_spec("paho")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(next(iter(spec.submodule_search_locations)))
    files = {
        f"opt/flops/runtime/{path.relative_to(package.parent)}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.suffix in {".py", ".pyc"}
    }
    start = b"import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
    files["opt/flops/runtime/flops_start.py"] = start + SCRIPT.read_bytes()
    runtime = layout.layer(files)
    code = layout.layer({"opt/flops/code/model_manager.py": b"class ModelManager: ...\n"})
    tracking = layout.layer({"opt/flops/tracking/mlflow.py": b""})
    command = ["python3", "-u", "-I", "-S", "/opt/flops/runtime/flops_start.py"]
    learner = layout.image([runtime, code], [*command, "learner"], WorkingDir="/opt/flops/code")
    aggregator = layout.image([runtime, code, tracking], [*command, "aggregator"])
    images = {
        "learner": layout.reference(learner, "test/learner"),
        "aggregator": layout.reference(aggregator, "test/aggregator"),
    }
    (folder / "images.json").write_text(json.dumps(images))
    return layout
