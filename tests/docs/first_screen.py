"""Makes the README's first screen, which is what the demo prints: ``python -m tests.docs.first_screen``.

It runs the built-in model and takes about a minute. ``test_first_screen.py`` compares what needs no model.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from typing import Final

from tests.docs.blocks import ROOT

README: Final = ROOT / "README.md"
OUTPUT: Final = "demo-out"
_BLOCK: Final = re.compile(r"```text\n(.*?)```\n", re.DOTALL)


def shown(readme: str) -> str:
    """The first screen as it stands in the README."""
    found = _BLOCK.search(readme)
    if found is None:
        raise ValueError(f"{README} has no block of text")
    return found[1]


def as_shown(printed: str) -> str:
    """What was printed, without the spaces that fill lines."""
    return "\n".join(line.rstrip() for line in printed.strip("\n").split("\n")) + "\n"


def main() -> None:
    """Run the demo and put what it prints into the README."""
    program = "from asr_data_cli.app import main; main()"
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", program, "demo", "-o", OUTPUT]
        ran = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    readme = README.read_text(encoding="utf-8")
    README.write_text(readme.replace(shown(readme), as_shown(ran.stdout), 1), encoding="utf-8")


if __name__ == "__main__":
    main()
