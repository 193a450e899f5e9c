"""A server that is started and stopped as a person does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from asr_data.errors import ConfigError
from asr_data.view.server.serve import listen, server


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: is in use; name another one, or 0"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"--host no\.such\.name\.invalid: no such address"):
        listen("no.such.name.invalid", 0)


def test_an_end_in_the_middle_of_a_question_is_no_error() -> None:
    server(Starlette())
    log = logging.getLogger("uvicorn.error")

    def is_said(text: str, error: BaseException | None = None) -> bool:
        caught = None if error is None else (type(error), error, None)
        return bool(log.filter(log.makeRecord(log.name, logging.ERROR, "", 0, text, (), caught)))

    assert not is_said("Exception in ASGI application", asyncio.CancelledError())
    assert not is_said("Cancel 1 running task(s), timeout graceful shutdown exceeded")
    assert is_said("Exception in ASGI application", ValueError("real"))
    assert is_said("something else")


def test_a_server_is_started_asked_and_stopped(annotate: Any, tmp_path: Path) -> None:
    words = ["view", str(annotate().path), "--tokenizer", "none"]
    program = [sys.executable, "-c", "from asr_data_cli.app import main; main()", *words]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ}
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        with urllib.request.urlopen(address) as answer:  # noqa: S310 - http
            assert "asr-data view" in answer.read().decode()
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        assert running.returncode in (0, 130), errors
    assert "Traceback" not in errors
    assert list(tmp_path.glob("labels*")) == []  # made with the first label
