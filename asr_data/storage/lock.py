"""One writer per directory.

A lock of the operating system, which ends with its process however that ends. Where a file system has none, the file
``owner`` beside it stands in: it names process and host, so a dead owner on this host is recognised. An owner on
another host cannot be checked, and the message says what to remove.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from asr_data.errors import OutputExistsError


def take_lock(folder: Path) -> tuple[dict[str, Any], Callable[[], None]]:
    """Keeps other processes out of ``folder`` until the function returned is called or this process ends.

    Returns:
        Who we are, as :func:`owner` tells others, and the function that releases the lock.

    Raises:
        OutputExistsError: another process is writing there; names it.
    """
    path = folder / "lock"
    me = _me()
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # the run before us is just removing its folder
        if not _lock(folder, descriptor):
            os.close(descriptor)
            return me, _take_without_locks(folder, me)
        if _is_named(path, descriptor):
            # For the message of those who come too late.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(me).encode(), 0)
            return me, partial(os.close, descriptor)
        os.close(descriptor)


def owner(folder: Path) -> dict[str, Any]:
    """Who writes to ``folder``, or did last; not for the process that has the lock, which this would release."""
    return _read(folder / "owner") or _read(folder / "lock")


@contextmanager
def shard_lock(path: Path, *, patience: float | None = None) -> Iterator[None]:
    """Holds ``path`` inside the block, after whoever holds it now; on a file system without locks, at once.

    Raises:
        OutputExistsError: it is still held after ``patience`` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    deadline = None if patience is None else time.monotonic() + patience
    try:
        while not _try_lock(descriptor):
            if deadline is not None and time.monotonic() > deadline:
                raise OutputExistsError(
                    f"{path}: a worker of an earlier run is still working on this shard; stop it or wait for it"
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """False where another process has it; true, too, on a file system without locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "started": _started(pid), "id": uuid.uuid4().hex}


def _lock(folder: Path, descriptor: int) -> bool:
    """False where the file system has no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return False
        owner = _parsed(os.pread(descriptor, 4096, 0))
        os.close(descriptor)
        raise OutputExistsError(f"{folder.parent}: another run is writing to it now{_who(owner)}") from error
    return True


def _is_named(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked still has its name: the run before us may have removed it in between."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _take_without_locks(folder: Path, me: dict[str, Any]) -> Callable[[], None]:
    path = folder / "owner"
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            owner = _read(path)
            if not _is_dead(owner, me):
                raise OutputExistsError(
                    f"{folder.parent}: another run is writing to it{_who(owner)}, or was killed there; this "
                    "file system has no locks, so which one cannot be determined from here. If the run is gone, remove "
                    f"{path}"
                ) from None
            _move_away(path, me)
            continue
        with os.fdopen(descriptor, "w") as file:
            json.dump(me, file)

        def release() -> None:
            if os.getpid() == me["pid"] and _read(path) == me:  # a forked child has no say
                path.unlink(missing_ok=True)

        return release


def _move_away(path: Path, me: dict[str, Any]) -> None:
    """Renamed first: of two processes that find the same dead owner, one does it."""
    aside = path.with_name(f"owner.{me['pid']}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    aside.unlink()


def _is_dead(owner: dict[str, Any], me: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    if owner.get("host") != me["host"] or not isinstance(pid, int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # The number of a dead process may have gone to another one.
    return owner.get("started") != _started(pid)


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's own clock; None where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _who(owner: dict[str, Any]) -> str:
    return f" (process {owner['pid']} on host {owner['host']})" if {"pid", "host"} <= owner.keys() else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return {}


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
