"""A folder with an input, a tokenizer and a scorer, and the means to run ``asr-annotate`` there and break it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "schemas"))
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    "the",
    "answer",
    "is",
    "that",
    "one",
    "and",
    "two",
    "make",
    "three",
    "because",
    "it",
    "follows",
    "from",
    "what",
)
RULE = ("--kind", "rule", "--model", "tests.faults.rules:by_word", "--tokenizer", "tokenizer")


@dataclass
class Outcome:
    """What a part of the campaign found.

    Attributes:
        name: what was broken.
        tried: how often, by kind.
        broken: one line for each promise that did not hold; empty when all is well.
        seconds: how long it took.
    """

    name: str
    tried: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind: str, number: int = 1) -> None:
        """Note that something was tried."""
        self.tried[kind] = self.tried.get(kind, 0) + number

    def expect(self, holds: object, what: str) -> bool:
        """Note ``what`` as broken unless it holds."""
        if not holds:
            self.broken.append(what)
        return bool(holds)


@dataclass(frozen=True)
class Ended:
    """How a child ended: as ``subprocess`` counts it, with all that it printed."""

    code: int
    output: str
    seconds: float


class Lab:
    """Runs commands in ``folder``, each in a process of its own.

    Args:
        folder: an existing directory; everything is made in it.
        rows: pairs in the input.
        shard_rows: of the runs.
    """

    def __init__(self, folder: Path, rows: int = 9, shard_rows: int = 3) -> None:
        self.folder = folder
        save_tokenizer(folder / "tokenizer")
        write_pairs(folder / "in.jsonl", rows)
        self.run = ("run", "in.jsonl", *RULE, "--shard-rows", str(shard_rows))
        self.score = ("score", "in.jsonl", *RULE[:4], "--shard-rows", str(shard_rows))
        self.mask = ("mask", "scored", "--tokenizer", "tokenizer", "--baseline", "running:0.5", "--on-empty", "drop")
        self._environment = {
            **os.environ,
            "PYTHONPATH": PATH,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore",
            "COLUMNS": "500",
        }
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", *self.run, "-o", "first"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            cwd=folder,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._zygote.stdout is not None
        line = self._zygote.stdout.readline()
        assert line, "the process that forks the children has ended"
        return line.strip()

    def close(self) -> None:
        """End the process that forks."""
        with self._zygote as process:
            assert process.stdin is not None
            process.stdin.close()

    def fresh(self, *argv: str) -> Ended:
        """``asr-annotate`` as a user starts it, with a new interpreter."""
        began = time.monotonic()
        ended = subprocess.run(
            [_program(), *argv],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout + ended.stderr, time.monotonic() - began)

    def forked(
        self, *argv: str, fault: dict[str, Any] | None = None, kill_after: float | None = None, by: int = 9
    ) -> Ended:
        """The same in a forked child.

        Args:
            argv: the command.
            fault: see :mod:`tests.faults.injection`.
            kill_after: seconds after which the child's process group gets the signal ``by``.
        """
        log = self.folder / "log"
        request = {"argv": argv, "cwd": str(self.folder), "log": str(log), "fault": fault}
        assert self._zygote.stdin is not None
        began = time.monotonic()
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        child = int(self._answer())
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it was faster: then its code is 0
                os.killpg(child, by)
        code = int(self._answer())
        return Ended(code, log.read_text(errors="replace"), time.monotonic() - began)

    def count(self, *argv: str) -> dict[str, Any]:
        """Commit points in order and numbers of calls of an undisturbed command; its output is in ``counted``."""
        self.remove("counted")
        report = self.folder / "count.json"
        ended = self.forked(*argv, "-o", "counted", fault={"kind": "count", "report": str(report)})
        assert ended.code == 0, ended.output
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def files(self, name: str) -> dict[str, str]:
        """SHA-256 of every file of a directory, hidden ones included."""
        root = self.folder / name
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def remove(self, name: str) -> None:
        """Remove a directory if it is there."""
        shutil.rmtree(self.folder / name, ignore_errors=True)


def half_written(lab: Lab, name: str, expected: dict[str, str]) -> list[str]:
    """What a reader would see in a directory that is not as it will be; temporary and work files are not seen."""
    seen = {path: digest for path, digest in lab.files(name).items() if not _hidden(path)}
    wrong = [path for path, digest in seen.items() if expected.get(path) != digest]
    if "asr.json" in seen:
        wrong += [path for path in expected if path not in seen]
    return wrong


def _hidden(path: str) -> bool:
    return path.startswith(".asr-work/") or path.rpartition("/")[2].startswith(".")


def _program() -> str:
    return str(Path(sys.executable).with_name("asr-annotate"))


@contextmanager
def timed(outcome: Outcome) -> Iterator[Outcome]:
    """Adds the time of the block."""
    began = time.monotonic()
    yield outcome
    outcome.seconds += time.monotonic() - began


def sentence(draw: random.Random, words: int) -> str:
    """Some words."""
    return " ".join(draw.choice(WORDS) for _ in range(words)).capitalize() + "."


def write_pairs(path: Path, rows: int, seed: int = 0) -> None:
    """Preference pairs of short texts; every seventh cannot be annotated."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for index in range(rows):
            chosen, rejected = sentence(draw, draw.randint(3, 12)), sentence(draw, draw.randint(3, 12)) + " é 🙂"
            record = {"prompt": f"Question {index}?", "chosen": chosen, "rejected": rejected}
            if index % 7 == 3:
                record["rejected"] = " "
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def save_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer with a ChatML template."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|im_end|>",  # noqa: S106
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(directory)


def sample(items: Sequence[Any], most: int | None, seed: int = 0) -> list[Any]:
    """All of them, or ``most`` drawn at random, in order."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), most))]
