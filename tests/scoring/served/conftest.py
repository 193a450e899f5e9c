"""Tiny checkpoints, servers that run them, and rows to score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.engines import EngineRole, EngineSettings, ServedModel
from asr_data.types import Completion, Row
from tests.scoring.served.fake_server import Model, Server

pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[engine]'")

FP32 = ScoringConfig(dtype="float32", device="cpu")
QUICK = EngineSettings(concurrency=4, timeout=10, retries=1)
STEPS = {"split": ". ", "read": "last_token_of_step"}
PRM = {
    "kind": "token_head",
    "head": {"kind": "linear", "prefix": "score.", "labels": 2},
    "transform": "softmax_idx",
    "indices": [1],
}
LABELS = {"kind": "lm_label_tokens", "good_id": 40, "bad_id": 41, "steps": STEPS}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR_ENGINE_KEY", raising=False)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rows() -> list[Row]:
    texts = [("It is four. That is all.", "No. I think. Not."), ("Done. Café, done.", "Two. Then three. Then?")]
    return [
        Row(i, {}, f"Question {i}?", (Completion("chosen", good, True), Completion("rejected", bad, False)))
        for i, (good, bad) in enumerate(texts)
    ]


@pytest.fixture
def prm(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> Path:
    """A process reward model of two labels."""
    return make_checkpoint(tmp_path / "prm", {"score.weight": random(2, 32)}, PRM)


@pytest.fixture
def language(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> Path:
    """A language model."""
    return make_checkpoint(tmp_path / "language", {"lm_head.weight": random(len(make_tokenizer().hf), 32)})


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server for a checkpoint; they end with the test."""
    with ExitStack() as running:

        def start(directory: Path, program: str = "vllm", **more: Any) -> Server:
            head = more.pop("head", None)
            return running.enter_context(Server(Model(directory, head), directory.name, program, **more))

        yield start


def engines(*servers: Server, settings: EngineSettings = QUICK, **roles: Server) -> dict[EngineRole, ServedModel]:
    """Servers of the model, and of other roles."""
    found: dict[Any, ServedModel] = {"model": ServedModel(urls=tuple(s.url for s in servers), settings=settings)}
    return found | {role: ServedModel(urls=(server.url,), settings=settings) for role, server in roles.items()}
