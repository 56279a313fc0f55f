# ruff: noqa: PTH100, PTH120 -- importing pathlib takes longer than what this does
"""The first file of an image that runs: `python3 -I -S flops_start.py learner`.

Its own folder is all that the process sees beside the standard library.
"""

import os
import runpy
import sys

ROLES = ("aggregator", "learner")

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: flops_start.py {'|'.join(ROLES)}")
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    runpy.run_module(f"flops_{sys.argv[1]}", run_name="__main__", alter_sys=True)
