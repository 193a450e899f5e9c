"""The date that chat templates are given, and how long they may run.

Templates that print today's date call ``strftime_now``, a function that transformers gives them. A run must give the
same ids on another day, so :class:`Rendering` answers with one fixed date. Templates are programs that come with a
model, and may never end, so it also stops them.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import ConfigError, CorruptFileError

if TYPE_CHECKING:
    from asr_data.text.tokenizer import Tokenizer

SECONDS: Final = 30.0
"""How long a template may take over one conversation."""

NOTE: Final = "template_date"
"""The note of a row that holds the date, after a colon."""
MEMORY: Final = 2**30
"""By how many bytes the process may grow while a template runs."""
_ROUND: Final = 0.05
_IDLE_ROUNDS: Final = 40
_FUNCTION: Final = "strftime_now"
_FIXED: ContextVar[date | None] = ContextVar("template_date", default=None)


def reads_clock(hf: Any) -> bool:
    """Whether a tokenizer's chat template, or one of several, asks for the time."""
    template = getattr(hf, "chat_template", None)
    templates = template.values() if isinstance(template, dict) else [template]
    return any(isinstance(text, str) and _FUNCTION in text for text in templates)


def today(hf: Any) -> date:
    """The date that chat templates are told now."""
    said = hf.apply_chat_template(
        [{"role": "user", "content": ""}], chat_template="{{ strftime_now('%Y-%m-%d') }}", tokenize=False
    )
    return date.fromisoformat(said)


def settle_date(tokenizers: Iterable[Tokenizer | None], day: date | None) -> date | None:
    """Give every tokenizer the same date, and return it; None where no template asks for one.

    Args:
        tokenizers: of one run; None stands for one that is not there.
        day: the date of the run so far; None: today.
    """
    there = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    asking = [tokenizer for tokenizer in there if reads_clock(tokenizer.hf)]
    if not asking:
        return None
    settled = day or today(asking[0].hf)
    for tokenizer in there:
        tokenizer.date = settled
    return settled


def noted_date(notes: Iterable[str]) -> date | None:
    """The date in a row's notes; None where there is none.

    Raises:
        CorruptFileError: what stands there is no date.
    """
    values = [note.partition(":")[2] for note in notes if note.startswith(f"{NOTE}:")]
    try:
        return date.fromisoformat(values[0]) if values else None
    except ValueError as error:
        raise CorruptFileError(f"the note {NOTE}:{values[0]} holds no date like 2026-01-31") from error


def fixed_clock(hf: Any, template: Any = None) -> None:
    """Have a tokenizer's templates ask :class:`Rendering` for the date; outside of one nothing changes.

    Raises:
        ConfigError: this version of transformers has another way of giving templates the time.
    """
    from transformers.utils import chat_template_utils

    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)
    own = template if template is not None else hf.chat_template
    for text in own.values() if isinstance(own, dict) else [own]:
        if not isinstance(text, str) or _FUNCTION not in text:
            continue
        compiled = None if compile_template is None else compile_template(text)  # the one that is kept for later
        if compiled is None or _FUNCTION not in compiled.globals:
            raise ConfigError(
                "the chat template prints today's date, and this version of transformers has no known way to fix it; "
                "put a date in the template"
            )
        told = compiled.globals[_FUNCTION]
        if not isinstance(told, _Clock):
            compiled.globals[_FUNCTION] = _Clock(told)


class _Clock:
    """``strftime_now``: the fixed date at midnight, or what transformers says."""

    def __init__(self, now: Callable[[str], str]) -> None:
        self._now = now

    def __call__(self, form: str) -> str:
        fixed = _FIXED.get()
        return self._now(form) if fixed is None else datetime(fixed.year, fixed.month, fixed.day).strftime(form)


class TemplateTimeoutError(Exception):
    """A chat template ran for longer than it may."""


class TemplateMemoryError(Exception):
    """A chat template took more memory than it may."""


class Rendering:
    """A context in which templates are told ``day`` and end after ``seconds``, or when they take too much memory.

    Memory is sampled where the system reports it (Linux): a template that doubles a text again and again is stopped
    some gigabytes later, before the machine runs out.

    Raises:
        TemplateTimeoutError, TemplateMemoryError: from within the block, in a template's own code.
    """

    def __init__(self, day: date | None, seconds: float = SECONDS) -> None:
        self._day, self._seconds = day, seconds

    def __enter__(self) -> Rendering:
        self._token = _FIXED.set(self._day)
        _WATCH.begin(self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _WATCH.end()
        _FIXED.reset(self._token)


class _Watch:
    """Interrupts threads that are past their time. One thread of its own, which ends when there is nothing to watch.

    Templates are compiled to Python, where an exception can be put into another thread between two instructions.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start over: a forked process has none of its parent's threads, and its locks in any state."""
        self._lock = threading.Lock()
        self._until: dict[int, float] = {}
        self._size: dict[int, tuple[float, int]] = {}  # until when, as above; bytes at the first look
        self._watching = False

    def begin(self, seconds: float) -> None:
        with self._lock:
            self._until[threading.get_ident()] = time.monotonic() + seconds
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._run, name="template-watch", daemon=True).start()

    def end(self) -> None:
        with self._lock:
            self._until.pop(threading.get_ident(), None)

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE_ROUNDS:
            time.sleep(_ROUND)
            with self._lock:
                idle = 0 if self._until else idle + 1
                now, size = time.monotonic(), _resident() if self._until else 0
                for thread, until in list(self._until.items()):
                    if self._size.get(thread, (0.0, 0))[0] != until:
                        self._size[thread] = until, size
                    if until < now:
                        self._interrupt(thread, TemplateTimeoutError)
                    elif size - self._size[thread][1] > MEMORY:
                        self._interrupt(thread, TemplateMemoryError)
                if idle == _IDLE_ROUNDS:
                    self._watching = False

    def _interrupt(self, thread: int, error: type[Exception]) -> None:
        del self._until[thread]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _resident() -> int:
    """Bytes of memory that the process has; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


_STATM: Final = Path("/proc/self/statm")
_WATCH: Final = _Watch()
os.register_at_fork(after_in_child=_WATCH.forget)
