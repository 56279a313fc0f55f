"""Prints what Python an image has, as JSON: run in a container, `python3 -I look.py`."""

import json
import site
import sys
from importlib.metadata import distributions

folders = [*site.getsitepackages()]
if sys.prefix == "/usr":
    folders.append("/usr/lib/python3/dist-packages")
found = {each.metadata["Name"]: each.version for each in distributions()}
print(json.dumps({"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "folders": folders, "packages": found}))
