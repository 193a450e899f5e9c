"""An input is read several times: counted, hashed, and row by row. A change in between must not go unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from asr_data.errors import InputError
from asr_data.rows.file_state import FileState, states_of
from asr_data.rows.source import Source

T = TypeVar("T")


class InputGuard:
    """Notices that an input changed since it was opened.

    Args:
        source: the input.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._states = source, source.files

    def check(self) -> None:
        """Compare what the file system records; where that changed, compare the content.

        Raises:
            InputError: the input changed.
        """
        now = states_of([path for path, _ in self._states])
        if now != self._states:
            self.check_content()
            self._states = now  # touched, copied over with the same bytes, or seen from another host

    def watched(self, batches: Iterable[T]) -> Iterator[T]:
        """What is read of the input, passed on only while the input is unchanged.

        Raises:
            InputError: the input changed, or what reading it raises.
        """
        reading = iter(batches)
        while True:
            try:
                batch = next(reading)
            except StopIteration:
                self.check()  # it may end too early
                return
            except InputError:
                self.check()  # says so if the input changed
                raise
            self.check()
            yield batch

    def check_content(self) -> None:
        """Compare the content: all of it is read again.

        Raises:
            InputError: the input changed.
        """
        for path, _ in self._states:
            if not path.is_file():
                raise self._changed(f"{path} is gone")
        try:
            found = self._source.fingerprint_now()
        except InputError as error:
            raise self._changed(str(error)) from error
        if found != self._source.fingerprint:
            differing = [str(path) for path, state in self._states if FileState.of(path) != state]
            raise self._changed(", ".join(differing) or "its content has another SHA-256 than when it was opened")

    def _changed(self, how: str) -> InputError:
        return InputError(
            f"{self._source.description}: the input changed while it was being read: {how}. Nothing was marked as "
            "finished; run the command again once the input no longer changes"
        )
