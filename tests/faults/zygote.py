"""A process that has run a command once and forks one child per further command, so that a child starts in no time.

Every child is a process of its own, the leader of its own session, and can be killed like any other. The requests
come in as lines of JSON, ``{"argv": …, "cwd": …, "log": …, "fault": {…} | null}``; the answers are two lines each:
the child's process id, and how it ended as ``subprocess`` counts it (-9: killed by SIGKILL).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from contextlib import redirect_stdout
from typing import Any


def serve(warm_up: list[str]) -> None:
    """Run one command here, so that all is imported and compiled; then answer requests until the input ends."""
    from asr_data_cli.app import build_app

    with redirect_stdout(sys.stderr):
        build_app()(warm_up, standalone_mode=False)
    assert threading.active_count() == 1, "a fork has the thread that forks, and no other"
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run_child(request)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run_child(request: dict[str, Any]) -> None:
    """Becomes ``asr-annotate`` with a fault in it; does not return."""
    os.setsid()
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.argv = ["asr-annotate", *request["argv"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 70
    try:
        from asr_data_cli.app import main
        from tests.faults.injection import install

        if request["fault"] is not None:
            install(**request["fault"])
        main()
        code = 0
    except SystemExit as end:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended; what comes now is too late for it
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1:])
