"""Settings that were chosen: a file that the command line reads, and the command that masks with them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr_data.config import MaskConfig
from asr_data.errors import OutputExistsError, StorageError
from asr_data.storage.commit import commit_bytes


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """Where settings are kept.

    Attributes:
        path: the file.
        options: settings as words of the command line, such as ``--segmenter schmitt --delta auto:1 --detrend``.
    """

    path: Path
    options: Callable[[MaskConfig], str]

    def keep(self, config: MaskConfig, *, replace: bool) -> None:
        """Write the settings, each option by its name.

        Raises:
            OutputExistsError: there is a file already, and it is not to be replaced.
            StorageError: it cannot be written.
        """
        if self.path.is_symlink() or self.path.is_dir() or (self.path.exists() and not replace):
            raise OutputExistsError(f"{self.path} is there already")
        try:
            commit_bytes(self.path, self._text(config).encode())
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error

    def command(self, config: MaskConfig, directory: Path, output: Path) -> str:
        """The command that masks a directory with these settings."""
        words = shlex.join(["asr-annotate", "mask", str(directory), "-o", str(output)])
        return f"{words} {self.options(config)}"

    def _text(self, config: MaskConfig) -> str:
        lines = ["# Settings of segments and masks, chosen in asr-annotate view."]
        for part in f" {self.options(config)}".split(" --")[1:]:
            name, _, value = part.partition(" ")
            # A JSON text is a YAML text, whatever is in it.
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False) if value else 'true'}")
        return "\n".join(lines) + "\n"
