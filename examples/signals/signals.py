"""The signals of the bench: for each, the options of ``asr-annotate run`` that make it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Signal:
    """A source of rewards.

    Attributes:
        name: of its directories and in tables.
        options: of ``asr-annotate run``.
        takes_model: whether ``--model`` is put in front of them.
        trained: whether it was trained on some of the data; it is then judged on what was held out.
    """

    name: str
    options: tuple[str, ...]
    takes_model: bool = True
    trained: bool = False


SIGNALS: Final = (
    Signal("hindsight", ("--preset", "hindsight")),
    Signal("hindsight-controlled", ("--preset", "hindsight-controlled")),
    Signal("logp-better", ("--kind", "logp", "--context", "better-answer", "--sides", "rejected")),
    Signal("logp", ("--kind", "logp")),
    Signal("instructions", ("--preset", "instructions")),
    Signal("answer-value", ("--kind", "answer_value")),
    Signal("built-in", (), takes_model=False, trained=True),
)
"""``diff`` is no signal here: it is a control of all of them. The controls that are shown are those of the first."""


def score(signal: Signal, source: Path, model: str, work: Path) -> Path:
    """Run the signal where its directory is not complete; a run that was stopped goes on where it was."""
    output = _directory(signal, source, work)
    if not is_scored(signal, source, work):
        model_option = ["--model", model] if signal.takes_model else []
        program = [sys.executable, "-c", "from asr_data_cli.app import main; main()"]
        command = ["run", str(source), "-o", str(output), *model_option, *signal.options]
        subprocess.run([*program, *command], check=True)
    return output


def is_scored(signal: Signal, source: Path, work: Path) -> bool:
    """Whether its directory is complete."""
    return (_directory(signal, source, work) / "asr.json").is_file()


def _directory(signal: Signal, source: Path, work: Path) -> Path:
    return work / f"{source.stem}-{signal.name}"
