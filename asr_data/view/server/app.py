"""What the server answers: the page, and what the page asks for."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from asr_data.errors import AsrDataError
from asr_data.view.escape import visible
from asr_data.view.server.charts import Charts
from asr_data.view.server.page import render
from asr_data.view.server.questions import (
    Asked,
    BackAsked,
    FiguresAsked,
    KeepAsked,
    MasksAsked,
    NextAsked,
    ReadyAsked,
    RowsAsked,
    SaveAsked,
    TabAsked,
)
from asr_data.view.server.security import Guard
from asr_data.view.server.session import Session

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=Asked)

LONGEST_WAIT: Final = 0.5
"""Seconds until a page that waits is told that nothing is new, and asks again; less than a server waits to end."""
AGAIN: Final = 0.05
"""Seconds between looks."""


def build_app(session: Session, *, token: str, hosts: Collection[str]) -> ASGIApp:
    """The application, behind its guard."""
    page, policy = render(session)
    charts = Charts()

    async def index(_: Request) -> Response:
        return HTMLResponse(page)

    async def drawing(_: Request) -> Response:
        return Response(await charts.script(), media_type="text/javascript")

    async def ready(asked: ReadyAsked) -> dict[str, Any]:
        charts.begin()
        for _ in range(round(LONGEST_WAIT / AGAIN)):
            if (session.is_ready, charts.are_made) != (asked.ready, asked.charts):
                break
            await asyncio.sleep(AGAIN)
        return {"charts": charts.are_made, **await run_in_threadpool(session.state)}

    routes = [
        Route("/", index, methods=["GET"]),
        Route("/charts.js", drawing, methods=["GET"]),
        Route("/api/ready", answer(ReadyAsked, ready), methods=["POST"]),
        Route("/api/rows", answer(RowsAsked, session.rows), methods=["POST"]),
        Route("/api/masks", answer(MasksAsked, session.masks), methods=["POST"]),
        Route("/api/figures", answer(FiguresAsked, session.figures), methods=["POST"]),
        Route("/api/keep", answer(KeepAsked, session.keep), methods=["POST"]),
        Route("/api/labels/claim", answer(TabAsked, session.claim), methods=["POST"]),
        Route("/api/labels/release", answer(TabAsked, session.release), methods=["POST"]),
        Route("/api/labels/next", answer(NextAsked, session.next), methods=["POST"]),
        Route("/api/labels/back", answer(BackAsked, session.back), methods=["POST"]),
        Route("/api/labels/save", answer(SaveAsked, session.save), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), token=token, hosts=hosts, policy=policy)


def answer(kind: type[A], respond: Callable[[A], Any]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that reads ``kind`` from JSON and sends what ``respond`` makes of it.

    What is no coroutine is worked out in a thread.
    """

    async def endpoint(request: Request) -> Response:
        try:
            asked = kind.model_validate_json(await request.body())
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            return _failed(400, f"the request is not understood: {problems}")
        try:
            if inspect.iscoroutinefunction(respond):
                return _json(200, await respond(asked))
            return _json(200, await run_in_threadpool(respond, asked))
        except AsrDataError as error:
            # Said on the page. Another status would be an error to the browser, which writes it to its console.
            return _json(200, {"error": visible(str(error))})
        except Exception:
            logger.exception("%s", request.url.path)
            return _failed(500, "the server failed; its terminal says why")

    return endpoint


def _json(status: int, content: Any) -> Response:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(body, status, media_type="application/json")


def _failed(status: int, message: str) -> Response:
    return JSONResponse({"error": visible(message)}, status)
