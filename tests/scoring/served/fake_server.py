"""A server over real HTTP on loopback that answers as vLLM, SGLang or llama.cpp's does, with faults to order.

It computes with transformers, one sequence at a time, and uses nothing of this package.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

NOW = {"retry-after-ms": "1"}
"""Asks the client to try again at once, so that tests need not wait."""


class Model:
    """A checkpoint's hidden states, head outputs and log-probabilities."""

    def __init__(self, directory: Path, head: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        from safetensors.torch import load_file
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.path = str(directory)
        self.decoder = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        tensors = load_file(directory / "model.safetensors")
        self.language = tensors.get("lm_head.weight")
        score = tensors.get("score.weight")
        self.head = head or (None if score is None else lambda states: states @ score.T)
        self.lock = threading.Lock()

    def hidden(self, ids: Sequence[int]) -> torch.Tensor:
        with self.lock, torch.inference_mode():
            return self.decoder(torch.tensor([list(ids)])).last_hidden_state[0]

    def scores(self, ids: Sequence[int]) -> torch.Tensor:
        assert self.head is not None
        return self.head(self.hidden(ids))

    def log_probabilities(self, ids: Sequence[int]) -> torch.Tensor:
        """``[tokens, vocabulary]``, of what follows each token."""
        assert self.language is not None
        return (self.hidden(ids) @ self.language.T).double().log_softmax(-1)


@dataclass(frozen=True)
class Status:
    """An error instead of an answer."""

    code: int
    message: str = "no"
    headers: dict[str, str] = field(default_factory=lambda: dict(NOW))


class Server:
    """One of the three programs.

    Attributes:
        model: what it runs.
        name: of the model.
        program: whose calls it knows.
        tasks: of ``/pooling``.
        context: tokens that it reads.
        version: of the program.
        faults: what the next requests meet, in order; None is no fault.
        always: what every request meets after that.
        bend: changes an answer: path and JSON value in, JSON value out.
        asked: path and body of every request but those that ask who it is.
        keys: ``Authorization`` of every request.
    """

    def __init__(self, model: Model, name: str = "tiny", program: str = "vllm", context: int = 256) -> None:
        self.model, self.name, self.program, self.context = model, name, program, context
        self.tasks = ["token_classify"]
        self.version = "0.32.0"
        self.faults: deque[Status | str | None] = deque()
        self.always: Status | str | None = None
        self.bend: Callable[[str, Any], Any] = lambda _path, answer: answer
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: set[str] = set()
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that are stopped
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def shown(self, path: str) -> Any:
        """What a GET gets."""
        owner = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp"}.get(self.program, self.program)
        card: dict[str, Any] = {"id": self.name, "owned_by": owner, "max_model_len": self.context}
        if self.program == "llama.cpp":
            card = {"id": self.name, "owned_by": owner, "meta": {"n_vocab": len(self.model.tokenizer)}}
        elif self.program == "vllm":
            card["root"] = self.model.path
        found = {
            ("vllm", "/version"): {"version": self.version},
            ("sglang", "/server_info"): {"version": self.version},
            ("llama.cpp", "/props"): {
                "build_info": self.version,
                "default_generation_settings": {"n_ctx": self.context},
            },
        }
        return {"object": "list", "data": [card]} if path == "/v1/models" else found.get((self.program, path))

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """What a POST gets: JSON, or a Status."""
        if self.program in ("vllm", "sglang") and path == "/detokenize":
            text = self.model.tokenizer.decode(body["tokens"], clean_up_tokenization_spaces=False)
            return {"prompt" if self.program == "vllm" else "text": text}
        if self.program == "vllm" and body.get("model") != self.name:
            return Status(404, f"The model `{body.get('model')}` does not exist.", {})
        known = {
            ("vllm", "/pooling"): self._pooling,
            ("vllm", "/v1/completions"): self._completions,
            ("sglang", "/classify"): self._classify,
            ("sglang", "/generate"): self._generate,
            ("llama.cpp", "/embeddings"): self._embeddings,
            ("llama.cpp", "/completion"): self._completion,
        }
        return known.get((self.program, path), lambda _body: Status(404, "Not Found", {}))(body)

    def _pooling(self, body: dict[str, Any]) -> Any:
        ids, task = body["input"], body["task"]
        if task not in self.tasks:
            return Status(400, f"Unsupported task: {task!r} Supported tasks: {self.tasks}", {})
        if len(ids) > self.context:
            return Status(400, f"the maximum context length is {self.context} tokens", {})
        assert body["use_activation"] is False
        states = self.model.hidden(ids) if task == "token_embed" else self.model.scores(ids)
        states = states[-1:] if task == "classify" else states
        packed = base64.b64encode(states.numpy().astype("<f4").tobytes()).decode()
        return {"data": [{"index": 0, "data": packed}], "usage": {"prompt_tokens": len(ids)}}

    def _completions(self, body: dict[str, Any]) -> Any:
        ids = body["prompt"]
        assert "seed" not in body, "vLLM 0.32 on a CPU dies of one where a prompt is read in several steps"
        if len(ids) + body["max_tokens"] > self.context:
            return Status(400, f"the maximum context length is {self.context} tokens", {})
        logs = self.model.log_probabilities(ids)
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1}
        if "prompt_logprobs" in body:
            entries = [None, *({str(t): {"logprob": float(logs[i, t])}} for i, t in enumerate(ids[1:]))]
            return {"choices": [{"prompt_logprobs": entries}], "usage": usage}
        best = int(logs[-1].argmax())
        top = {f"token_id:{t}": float(logs[-1, t]) for t in [best, *body["logprob_token_ids"]]}
        return {"choices": [{"logprobs": {"top_logprobs": [top]}}], "usage": usage}

    def _classify(self, body: dict[str, Any]) -> Any:
        ids = body["input_ids"]
        return {"embedding": self.model.scores(ids)[-1].tolist(), "meta_info": {"prompt_tokens": len(ids)}}

    def _generate(self, body: dict[str, Any]) -> Any:
        ids, info = body["input_ids"], {"prompt_tokens": len(body["input_ids"])}
        if body.get("return_hidden_states"):
            states = self.model.hidden(ids).tolist()
            return {"text": "", "meta_info": {**info, "hidden_states": [states, states[-1]]}}
        logs, start = self.model.log_probabilities(ids), body["logprob_start_len"]
        own = [[None, ids[start], None]]
        own += [[float(logs[i - 1, ids[i]]), ids[i], None] for i in range(start + 1, len(ids))]
        info["input_token_logprobs"] = own
        if labels := body.get("token_ids_logprob"):
            each = [[[float(logs[i, t]), t, None] for t in labels] for i in range(start, len(ids))]
            info["input_token_ids_logprobs"] = [None, *each[:-1]]
            info["output_token_ids_logprobs"] = [each[-1]]
        return {"text": "", "meta_info": info}

    def _embeddings(self, body: dict[str, Any]) -> Any:
        return [{"index": 0, "embedding": self.model.hidden(body["input"]).tolist()}]

    def _completion(self, body: dict[str, Any]) -> Any:
        ids = body["prompt"]
        logits = self.model.log_probabilities(ids)[-1].clone()
        for token, bias in body["logit_bias"]:
            logits[token] += bias
        shares = logits.softmax(-1)
        top = torch.topk(shares, body["n_probs"])
        found = [{"id": int(t), "prob": float(p)} for p, t in zip(top.values, top.indices, strict=True)]
        return {"tokens_evaluated": len(ids), "completion_probabilities": [{"top_probs": found}]}


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.keys.add(self.headers.get("Authorization", ""))
            found = server.shown(self.path)
            self._send(404 if found is None else 200, found or {"detail": "Not Found"}, {})

        def do_POST(self) -> None:
            server.keys.add(self.headers.get("Authorization", ""))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                if self.path != "/detokenize":
                    server.asked.append((self.path, body))
                fault = server.faults.popleft() if server.faults else server.always
            if fault == "drop":
                self.close_connection = True
                return
            if fault == "hang":
                time.sleep(1.0)
                self.close_connection = True
                return
            answer = fault if fault is not None else server.answer(self.path, body)
            if isinstance(answer, Status):
                self._send(answer.code, {"error": {"message": answer.message}}, answer.headers)
            else:
                self._send(200, server.bend(self.path, answer), {})

        def _send(self, code: int, value: Any, headers: dict[str, str]) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            for name, text in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Silent."""

    return Handler


def bytes_of(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()
