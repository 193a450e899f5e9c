"""What a format is, and which there are."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import pyarrow as pa

from asr_data.export.examples import Cutter
from asr_data.storage import AnnotatedDirectory

Target: TypeAlias = Literal[
    "llamafactory-dpo",
    "llamafactory-kto",
    "llamafactory-sft",
    "trl-sft",
    "axolotl-sft",
    "axolotl-segments",
    "verl-sft",
    "ms-swift-sft",
    "jsonl",
]
FORMATS: Final[tuple[Target, ...]] = get_args(Target)
WEIGHTED: Final[tuple[Target, ...]] = ("verl-sft", "ms-swift-sft", "jsonl")
"""Formats whose trainers take a weight for each token."""

WITHOUT_WAY_IN: Final[Mapping[str, str]] = {
    "prime-rl": (
        "its SFT loader renders messages itself and masks by their roles, and per-token weights exist only in the "
        "messages between its processes, whose fields change from commit to commit"
    ),
    "openrlhf": "it has no way in for token masks or weights without code of its own",
}
"""Trainers that people ask for and that read no masks from data, and why."""

Example: TypeAlias = dict[str, Any]
"""One example: column to value; lists of numbers as NumPy arrays."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the trainer's configuration depends on.

    Attributes:
        path: the export, as the user named it.
        file: the data file, relative to it.
        model: name of the policy tokenizer, which is as a rule the policy's too.
        longest: tokens of the longest sequence.
    """

    path: Path
    file: str
    model: str
    longest: int

    @property
    def data(self) -> Path:
        """The data file."""
        return self.path / self.file

    def command(self, program: str, file: str) -> str:
        """A shell command: the program with a file of the export."""
        return f"{program} {shlex.quote(str(self.path / file))}"


@dataclass(frozen=True, slots=True)
class Setup:
    """What makes the trainer read the export.

    Attributes:
        file: name of the configuration file.
        text: its content.
        command: what to run, in the shell.
        explanation: what to know, as Markdown.
        extra: other files, name to content.
    """

    file: str
    text: str
    command: str
    explanation: str
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format of one trainer.

    Attributes:
        file: the data file, relative to the export; its ending says how it is written: ``.parquet``, ``.jsonl``, or
            ``.arrow`` for what ``datasets.load_from_disk`` opens. The first two get a digest of their content in their
            name: ``load_dataset`` and axolotl keep what they once read by the names of files and not by their content.
        schema: its columns.
        records: the examples, in row order.
        setup: the trainer's configuration.
        pairs: whether each example needs a chosen and a rejected response.
    """

    file: str
    schema: pa.Schema
    records: Callable[[AnnotatedDirectory, Cutter], Iterator[Example]]
    setup: Callable[[Facts], Setup]
    pairs: bool = False
