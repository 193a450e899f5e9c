"""Reports opened in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_data.view.report import write_report

Open = Callable[..., Any]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def make_report(
    annotate_into: Any, make_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """``make_report(rows, annotation={…}, **options)``: the file of a report on these rows."""

    def make(rows: Any = None, annotation: Any = None, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("report")
        arguments = [] if rows is None else [rows]
        annotated = annotate_into(folder, *arguments, **(annotation or {}))
        path = folder / "report.html"
        write_report(annotated, path, **{"tokenizer": make_tokenizer(), **options})
        return path

    return make


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """``open_page(path, hash="", **context)``: a page whose script has run.

    At the end nothing may have been written to its console, and nothing but the file itself been asked for.
    """
    contexts: list[Any] = []
    messages: list[str] = []
    requested: list[str] = []
    expected: list[str] = []

    def opened(path: Path, hash: str = "", **context: Any) -> Any:  # noqa: A002 - as the browser calls it
        contexts.append(browser.new_context(**{**DESKTOP, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"error: {error}"))
        page.on("dialog", lambda dialog: messages.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: requested.append(request.url))
        expected.append(path.as_uri())
        page.goto(path.as_uri() + hash)
        page.wait_for_function("() => document.querySelectorAll('[data-chart] svg').length === 4")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert messages == []
    assert [url.partition("#")[0] for url in requested] == expected
