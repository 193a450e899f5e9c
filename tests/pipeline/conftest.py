"""A scorer whose rewards follow from the text alone, a small ChatML tokenizer, and a bench that drives the pipeline."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pipeline import Summary, mask, run, score
from asr_data.rows import Layout, Source, detect, first_records, open_source
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.text import Tokenizer
from asr_data.types import ByteRewards, Row

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


FAKE = ScorerInfo("fake", "rule", "value", "f" * 64, {"seed": "crc32"})


def response_of(content: Any) -> str:
    """What the assistant wrote."""
    if isinstance(content, str):
        return content
    return "".join(message["content"] for message in content if message["role"] == "assistant")


def rewards_of(text: str) -> ByteRewards:
    """Rewards seeded by the text: a value at the end of the prompt, then stretches of high and low ones."""
    size = len(text.encode())
    draw = np.random.default_rng(zlib.crc32(text.encode()))
    ends = np.unique(np.append(draw.integers(1, size + 1, max(1, size // 4)), size))
    levels = np.repeat(draw.normal(size=len(ends) // 5 + 1), 5)[: len(ends)]
    values = levels + 0.1 * draw.normal(size=len(ends))
    return ByteRewards(
        span_end=np.append(0, ends).astype(np.int32),
        span_reward=np.append(0.125, values).astype(np.float32),
        step_end=np.unique([size // 2, size]).astype(np.int32) if size > 40 else np.zeros(0, dtype=np.int32),
        reward=float(np.float32(values.mean())),
    )


@dataclass
class FakeScorer:
    """Scores by :func:`rewards_of`, except rows for which ``answers`` holds something else."""

    tokenizer: Tokenizer | None
    info: ScorerInfo = FAKE
    answers: dict[int, Callable[[Row], Scored]] = field(default_factory=dict)
    scored: list[int] = field(default_factory=list)

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        self.scored += [row.index for row in rows]
        if on_tokens is not None:
            on_tokens(len(rows))
        return [self.answers.get(row.index, self._answer)(row) for row in rows]

    @staticmethod
    def _answer(row: Row) -> Scored:
        return tuple(rewards_of(response_of(completion.content)) for completion in row.completions)


@dataclass
class Bench:
    """The pipeline with the fakes put in."""

    folder: Path
    tokenizer: Tokenizer
    scorer: FakeScorer

    def write(self, rows: Iterable[Mapping[str, Any]], name: str = "in.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    def open(self, rows: Any) -> tuple[Source, Layout]:
        source = open_source(rows if isinstance(rows, Path) else self.write(rows))
        return source, detect(source.schema, first_records(source))

    def run(self, rows: Any, name: str = "out", shard_rows: int = 1_000, prefix: str = "", **options: Any) -> Summary:
        writing = OutputConfig(shard_rows=shard_rows, prefix=prefix)
        options.setdefault("mask", MaskConfig())
        return run(*self.open(rows), self.folder / name, self.scorer, self.tokenizer, writing=writing, **options)

    def score(self, rows: Any, name: str = "scored", shard_rows: int = 1_000, **options: Any) -> Summary:
        writing = OutputConfig(shard_rows=shard_rows)
        return score(*self.open(rows), self.folder / name, self.scorer, writing=writing, **options)

    def mask(self, scored: str, name: str, config: MaskConfig, **options: Any) -> Summary:
        return mask(self.folder / scored, self.folder / name, self.tokenizer, mask=config, **options)

    def files(self, name: str) -> dict[str, bytes]:
        """Every file of a directory, hidden ones included."""
        root = self.folder / name
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    def table(self, name: str, config: str = "data") -> pa.Table:
        """All rows of a config, its files in order."""
        return pa.concat_tables([pq.read_table(path) for path in sorted((self.folder / name / config).iterdir())])

    def rejects(self, name: str) -> dict[int, str]:
        return {row["asr_row"]: row["code"] for row in self.table(name, "rejects").to_pylist()}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
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
    backend.train_from_iterator(["the answer is that one. What is it? It is here, user, assistant"] * 4, trainer)
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")  # noqa: S106
    hf.chat_template = CHATML
    return Tokenizer(hf, "chatml")


@pytest.fixture
def bench(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    return Bench(tmp_path, tokenizer, FakeScorer(tokenizer))


def pair(number: int, chosen: str, rejected: str, **extra: Any) -> dict[str, Any]:
    return {
        "id": number,
        "prompt": [{"role": "user", "content": f"Question {number}: what is it?"}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "margin": number / 8,
        **extra,
    }


@pytest.fixture
def pairs() -> list[dict[str, Any]]:
    """Nine pairs, two of them not to be annotated (rows 3 and 7)."""
    return [
        pair(0, "The answer is seven. It follows from the first line.", "It is eight, which is wrong.\nSorry."),
        pair(1, "Café 👩‍🔬 résumé: it is 42.", "日本語の答えは四十二です。違います。"),
        pair(2, "Short.", "No."),
        pair(3, "The same on both sides.", "The same on both sides."),
        pair(4, "First, we add.\nThen we divide; and so on, until it ends.", "We guess. " * 12),
        pair(5, "One two three four five six seven eight nine ten. " * 3, "x"),
        pair(6, "🙂", "😀😀😀 and more"),
        pair(7, "An answer", "   "),
        pair(8, "Last of all, the answer is given here: 3.14.", "There is none, e.g. because I say so!"),
    ]
