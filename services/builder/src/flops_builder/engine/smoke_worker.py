"""A smoke round inside of a container: `python3 -I -S -B smoke_worker.py ANSWER MLENV CODE`.

ANSWER is a file that gets a JSON object: `arrays`, or the `fault` of the code as the ML worker tells it.
"""

import json
import sys
from typing import Any


def main() -> None:
    """Sets the paths as the ML worker has them, and tries the code."""
    answer, mlenv, code = sys.argv[1:]
    sys.path.insert(0, mlenv)
    from flops_mlrepo.worker import prepare_paths

    sys.path.remove(mlenv)
    prepare_paths(mlenv, code)
    from flops_mlrepo.guest.faults import FaultError
    from flops_mlrepo.guest.model import Model
    from flops_mlrepo.guest.smoke import smoke

    sys.argv = [f"{code}/model_manager.py"]
    found: dict[str, Any]
    try:
        found = {"arrays": smoke(Model(code))}
    except FaultError as fault:
        found = {"fault": fault.document()}
    with open(answer, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(found, file)


if __name__ == "__main__":
    main()
