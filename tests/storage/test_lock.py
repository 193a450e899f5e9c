"""One writer per directory, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import OutputExistsError
from asr_data.storage.lock import take_lock

HOLD = (
    "import sys, pathlib, time\n"
    "from asr_data.storage.lock import take_lock\n"
    "take_lock(pathlib.Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "time.sleep(60)\n"
)


def test_the_lock_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputExistsError, match=f"process {holder.pid} on host {socket.gethostname()}"):
            take_lock(tmp_path)
        holder.send_signal(signal.SIGKILL)
    take_lock(tmp_path)[1]()


def test_a_folder_that_the_run_before_removes_meanwhile_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, real = tmp_path / "lock", fcntl.lockf
    calls: list[int] = []

    def lockf(descriptor: int, *rest: Any) -> None:
        if not calls:
            lock.unlink()
        calls.append(descriptor)
        real(descriptor, *rest)

    monkeypatch.setattr("fcntl.lockf", lockf)
    _, release = take_lock(tmp_path)
    assert len(calls) == 2
    assert lock.stat().st_ino == os.fstat(calls[1]).st_ino
    release()


def test_the_lock_is_never_a_link_to_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        take_lock(tmp_path / "work")
    assert victim.read_text() == "mine"


# --- without locks ---------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", lockf)


def own(folder: Path, **changes: Any) -> None:
    """The owner file of a process that is not there any more."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    owner = {"pid": int(done.stdout), "host": socket.gethostname(), "started": "1", **changes}
    (folder / "owner").write_text(json.dumps(owner))


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_living_owner_keeps_others_out(tmp_path: Path) -> None:
    _, release = take_lock(tmp_path)
    with pytest.raises(OutputExistsError, match=rf"process {os.getpid()} on host .*remove .*owner"):
        take_lock(tmp_path)
    release()
    take_lock(tmp_path)[1]()
    assert not (tmp_path / "owner").exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_dead_owner_on_this_host_is_recognised(tmp_path: Path) -> None:
    own(tmp_path)
    take_lock(tmp_path)[1]()
    own(tmp_path, pid=os.getpid())  # its number went to another process since, which began at another time
    take_lock(tmp_path)[1]()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"pid": "7"}, {"pid": 0}, {"pid": -1}])
def test_without_locks_an_owner_of_whom_nothing_is_known_keeps_others_out(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    own(tmp_path, **changes)
    with pytest.raises(OutputExistsError, match=r"If the run is gone, remove .*owner"):
        take_lock(tmp_path)
    (tmp_path / "owner").write_text("")
    with pytest.raises(OutputExistsError, match=r"If the run is gone, remove .*owner"):
        take_lock(tmp_path)
