"""What draws charts, made by another process while the page is already there.

Making it takes some seconds, in a library that lets no other thread of its process run meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Final

logger = logging.getLogger(__name__)

LONGEST: Final = 120.0
"""Seconds."""
_PROGRAM: Final = "from asr_data.view.server.charts import write; write()"


class Charts:
    """The script, made once."""

    def __init__(self) -> None:
        self._made: Future[str] = Future()
        self._begun = False

    def begin(self) -> None:
        """Make it, unless that was begun before; from the server's own thread."""
        if not self._begun:
            self._begun = True
            # A thread that the end of the program does not wait for.
            threading.Thread(target=_make, args=(self._made,), daemon=True).start()

    @property
    def are_made(self) -> bool:
        """Whether it is there."""
        return self._made.done()

    async def script(self) -> str:
        """The chart library, and the chart of a response; a script that says that there is none, where it failed."""
        self.begin()
        return await asyncio.shield(asyncio.wrap_future(self._made))


def _make(made: Future[str]) -> None:
    try:
        script = made_elsewhere()
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("charts cannot be drawn: %s", error)
        script = "asrServer.noCharts();"
    made.set_result(script)


def made_elsewhere() -> str:
    """Run :func:`write` in a process of its own.

    Raises:
        OSError, subprocess.SubprocessError: it failed.
    """
    run = subprocess.run(  # noqa: S603 - this interpreter, on words of ours
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        timeout=LONGEST,
        check=True,
        start_new_session=True,  # Ctrl-C is for the server
    )
    return run.stdout.decode("utf-8")


def write() -> None:
    """Write the script to standard output."""
    from asr_data.view.client.charts import chart_library, curve_chart

    made = f"{chart_library()}\nasrServer.charts({json.dumps(curve_chart())});"
    sys.stdout.buffer.write(made.encode("utf-8"))
