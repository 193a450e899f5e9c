"""Faults put into a child before it becomes ``asr-annotate``. Nothing of this is in the product.

``kill``      SIGKILL of the whole process group at the n-th commit point, n from 0
``fail``      the k-th call of ``write``, ``fsync`` or ``rename`` below a directory fails, k from 1
``signal``    the n-th commit point sends a signal to the process, as ``kill PID`` would
``count``     no fault; how many of each there are is written to a file at the end
"""

from __future__ import annotations

import atexit
import errno
import io
import json
import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

OPERATIONS = ("write", "fsync", "rename")
_INSTALLED = ExitStack()  # for the life of the child


def install(kind: str, **settings: Any) -> None:
    """Install one fault; see the module."""
    {"kill": _kill, "fail": _fail, "signal": _signal, "count": _count}[kind](**settings)


def _observe(observer: Any) -> None:
    from asr_data.storage.commit import observe

    _INSTALLED.enter_context(observe(observer))


def _kill(at: int) -> None:
    left = at

    def observer(point: str, path: Path) -> None:
        nonlocal left
        if left == 0:
            os.killpg(0, signal.SIGKILL)
        left -= 1

    _observe(observer)


def _signal(at: int, number: int) -> None:
    left = at

    def observer(point: str, path: Path) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), number)
        left -= 1

    _observe(observer)


def _fail(operation: str, at: int, code: int = errno.EIO) -> None:
    calls = 0

    def called(name: str) -> None:
        nonlocal calls
        calls += name == operation
        if name == operation and calls == at:
            raise OSError(code, os.strerror(code))

    _wrap(called)


def _count(report: str) -> None:
    """Points in order, with the file they are about, and the number of calls of each operation."""
    points: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()
    _observe(lambda point, path: points.append((point, path.name)))
    _wrap(lambda name: calls.update([name]))
    save = open  # the plain one

    def write() -> None:
        with save(report, "w") as file:
            json.dump({"points": points, "calls": calls}, file)

    atexit.register(write)
    exit_now = os._exit
    os._exit = lambda code: (write(), exit_now(code))  # type: ignore[assignment, return-value]


def _wrap(called: Any) -> None:
    """Calls ``called(operation)`` before each write, fsync and rename of this process."""
    fsync, replace, plain_open = os.fsync, os.replace, io.open

    class File(io.FileIO):
        def write(self, data: Any) -> int:
            called("write")
            return super().write(data) or 0

    def open_file(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode in ("wb", "xb") and not isinstance(file, int):
            return io.BufferedWriter(File(file, mode.replace("b", "")))
        return plain_open(file, mode, *args, **options)

    def fsync_file(descriptor: int) -> None:
        called("fsync")
        fsync(descriptor)

    def rename(source: Any, target: Any, **options: Any) -> None:
        called("rename")
        replace(source, target, **options)

    io.open = open_file  # type: ignore[assignment]
    os.fsync = fsync_file  # type: ignore[assignment]
    os.replace = rename  # type: ignore[assignment]
