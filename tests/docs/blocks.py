"""The fenced blocks of a page, and how to run them: each one runs, or says above itself why it cannot."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from asr_data_cli.app import build_app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN_ONLY = ("", "text", "yaml")
"""Languages of blocks that show what comes out."""

_FILE = re.compile(r"# (\w+\.py)\n")
"""The first line of a Python block that is a file and not run."""
_BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its file.
        line: of the opening fence.
        language: after the fence.
        text: what is inside.
        reason: why it is not run, from a comment ``<!-- not run: … -->`` right above it.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("language")) + 1, found["language"], found["text"], found["reason"])
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, a line each; comments are none."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


class PageRunner:
    """Runs the blocks of one page one after the other, in the current directory and with one set of names.

    Attributes:
        names: what the Python blocks have defined so far.
        set_variable: what ``export NAME=VALUE`` calls.
    """

    def __init__(self, set_variable: Callable[[str, str], None]) -> None:
        self.names: dict[str, Any] = {}
        self.set_variable = set_variable

    def run(self, block: Block) -> None:
        """Run one block; fails with its place where it does."""
        match block.language:
            case "sh":
                for words in commands(block):
                    self._command(block, words)
            case "python" if file := _FILE.match(block.text):
                Path(file[1]).write_text(block.text, encoding="utf-8")
            case "python":
                code = compile(block.text, f"<{block.place}>", "exec")
                exec(code, self.names)  # noqa: S102 - the text of our own page
            case "json":
                json.loads(block.text)
            case language:
                raise AssertionError(f"{block.place}: nobody knows how to run {language!r}; {_REMEDY}")

    def _command(self, block: Block, words: list[str]) -> None:
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.set_variable(name, value)
            return
        assert words[0] == "asr-annotate", f"{block.place}: {words[0]} cannot be run by the tests; {_REMEDY}"
        arguments, file = redirected([name for word in words[1:] for name in _expanded(word)])
        done = CliRunner().invoke(build_app(), arguments)
        assert done.exit_code == 0, f"{block.place}: {shlex.join(words)}\n{done.output}"
        if file is not None:
            Path(file).write_text(done.output, encoding="utf-8")


def _expanded(word: str) -> list[str]:
    """As a shell does: a pattern that no file matches, such as the SQL ``count(*)``, stays what it is."""
    return (sorted(map(str, Path().glob(word))) if "*" in word else []) or [word]


def redirected(words: list[str]) -> tuple[list[str], str | None]:
    """The words of a command, and the file that its output goes to."""
    if ">" in words:
        at = words.index(">")
        return words[:at], words[at + 1]
    return words, None


_REMEDY = "let it run, or put <!-- not run: WHY --> right above it"
