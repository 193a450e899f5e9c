"""Runs one code answer against its check, in a process of its own: ``python -m tests.sample.run_code < JSON``.

The answer's Python blocks run first; what they define is there for the check, beside these functions for blocks in
other languages. An answer that fails its check, or that does not end, ends this process with an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CPU_SECONDS = 5
"""For a loop that does not end. Processor time, so that a busy machine makes no difference."""

_BLOCK = re.compile(r"^```([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Inserted = tuple[str, Sequence[Sequence[object]]]


class Answer:
    """The code blocks of an answer, and what a check may do with them."""

    def __init__(self, text: str) -> None:
        self.blocks = _BLOCK.findall(text)

    def code(self, language: str) -> list[str]:
        """The blocks in this language."""
        return [code for own, code in self.blocks if own == language]

    def query(self, *statements: str | Inserted) -> list[tuple[Any, ...]]:
        """The rows that the SQL gives, after these statements."""
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            for one in statements:
                if isinstance(one, str):
                    database.execute(one)
                else:
                    database.executemany(*one)
            return database.execute(self.code("sql")[0]).fetchall()

    def node(self, after: str, before: str = "") -> str:
        """The last line that the JavaScript prints, with this code around it."""
        program = "\n".join((before, self.code("javascript")[0], after))
        ran = subprocess.run(["node", "-e", program], check=True, capture_output=True, text=True)
        return ran.stdout.strip().split("\n")[-1]

    def shell(self, files: Sequence[str]) -> list[str]:
        """The files there after the Bash ran in a folder with these ones."""
        with tempfile.TemporaryDirectory() as folder:
            for name in files:
                Path(folder, name).touch()
            subprocess.run(["bash", "-c", self.code("bash")[0]], check=True, cwd=folder)
            return sorted(path.name for path in Path(folder).iterdir())

    def deleted_by(self, ages: Mapping[str, float]) -> list[str]:
        """The files that the Bash deletes from ``/var/tmp/app``, of files with these ages in days."""
        with tempfile.TemporaryDirectory() as folder:
            for name, days in ages.items():
                path = Path(folder, name)
                path.touch()
                os.utime(path, (time.time() - days * 86_400,) * 2)
            for block in self.code("bash"):
                script = block.replace("/var/tmp/app", folder)  # noqa: S108 - a path in the answer's text
                subprocess.run(["bash", "-c", script], check=True, capture_output=True)
            return sorted(set(ages) - {path.name for path in Path(folder).iterdir()})


def main() -> None:
    """Run the answer and the check that standard input holds as JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    given = json.load(sys.stdin)
    answer = Answer(given["answer"])
    names: dict[str, object] = {
        "query": answer.query,
        "node": answer.node,
        "shell": answer.shell,
        "deleted_by": answer.deleted_by,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        for code in answer.code("python"):
            exec(code, names)  # noqa: S102 - our own sample
    exec(given["check"], names)  # noqa: S102


if __name__ == "__main__":
    main()
