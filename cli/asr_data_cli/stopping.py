"""Ctrl-C and SIGTERM: a message and the exit code that shells and schedulers expect."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. A kind of KeyboardInterrupt, since both ask for the same."""


@contextmanager
def terminable() -> Iterator[None]:
    """Inside the block, SIGTERM raises :class:`Terminated`; signals reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_at_once(code: object) -> None:
    """After a stop, end without waiting for the thread that reads ahead; every file is whole or not there."""
    if code in (INTERRUPTED, TERMINATED):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a full disk or a closed pipe
                stream.flush()
        fetched = sys.modules.get("asr_data.rows.fetched")  # nothing was copied where it was not imported
        if fetched is not None:
            fetched.remove_copies()
        os._exit(int(str(code)))
