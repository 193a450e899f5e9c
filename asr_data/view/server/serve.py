"""Serving the page: the port, the address with its token, and the end."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_data.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from asr_data.view.server.keep import SettingsFile
    from asr_data.view.server.labels import LabelSettings


def listen(host: str, port: int) -> socket.socket:
    """A socket at which the page can be asked for; port 0 takes one that is free.

    Raises:
        ConfigError: the port is in use or not allowed, or there is no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host}: no such address: {error.strerror}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen()
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port {port}: is in use; name another one, or 0 for any that is free") from error
        raise ConfigError(f"--host {host} --port {port}: cannot be listened at: {error.strerror}") from error
    return opened


def serve(
    paths: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    hosts: Collection[str] = (),
    tokenizer: str | None = None,
    gold: str | None = None,
    keeping: SettingsFile | None = None,
    labelling: LabelSettings | None = None,
    ready: Callable[[str], None],
) -> None:
    """Serve the page on some directories until it is interrupted.

    Args:
        paths: the directories.
        host: the address to listen at.
        port: the port; 0 for one that is free.
        hosts: further names that this machine is called by.
        tokenizer: the policy's; see :func:`asr_data.view.server.directories.open_directories`.
        gold: labels to underline, likewise.
        keeping: where settings that were chosen go.
        labelling: where labels go, and whose they are.
        ready: gets the page's address, which holds the token, once the page can be opened.

    Raises:
        ConfigError: a setting is invalid, or the port is in use.
        MissingDependencyError: the extra ``view`` is not installed.
        InputError, StorageError: a directory cannot be shown.
    """
    for name in ("starlette", "uvicorn", "vl_convert"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(name, "the page", "pip install 'asr-data[view]'")
    from asr_data.view.server.app import build_app
    from asr_data.view.server.directories import open_directories
    from asr_data.view.server.security import new_token
    from asr_data.view.server.session import Session

    with listen(host, port) as opened:
        session = Session(open_directories(paths, tokenizer, gold), keeping, labelling)
        token = new_token()
        session.prepare()
        app = build_app(session, token=token, hosts={host, *hosts})
        at = opened.getsockname()
        shown = f"[{at[0]}]" if ":" in at[0] else at[0]
        ready(f"http://{shown}:{at[1]}/?token={token}")
        try:
            server(app).run(sockets=[opened])
        finally:
            session.close()


def server(app: ASGIApp) -> uvicorn.Server:
    """A server that says nothing of itself, and believes nothing that a proxy says."""
    import uvicorn

    logging.getLogger("uvicorn.error").addFilter(_is_no_end)

    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _is_no_end(record: logging.LogRecord) -> bool:
    """Leaves out what the server says where it ends while a question is being answered: nobody waits for that."""
    ended = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not ended and not record.getMessage().startswith("Cancel ")
