"""Print pip's constraints to the lowest versions of what the companion and its extras need."""

import re
import tomllib
from pathlib import Path

TOOLS = {"book", "test"}  # what only this repository needs

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"].items()
needed = [line for name, lines in extras if name not in TOOLS for line in lines]
for line in [*project["dependencies"], *needed]:
    name, lowest = re.match(r"([\w-]+)>=([\w.]+)", line).groups()
    print(f"{name}=={lowest}")
