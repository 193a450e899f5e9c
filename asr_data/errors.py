"""Every error this package raises on purpose.

    AsrDataError                 base: catch this to catch them all
    ├── ConfigError              an invalid setting or option                (exit code 2)
    │   └── MissingDependencyError   an extra that is not installed; names the command
    ├── InputError               a data set that cannot be read or understood     (exit code 1)
    ├── ScorerError              a reward model that cannot be loaded or run      (exit code 1)
    ├── EndpointError            a model behind an endpoint that cannot be asked  (exit code 1)
    │   ├── JudgeError           a judge
    │   ├── CriticError          a critic
    │   └── EngineError          a server that runs a reward model
    ├── StorageError             an output directory that cannot be written or read
    │   ├── OutputExistsError    it is there already, or is not ours
    │   └── CorruptFileError     a file whose content is not what the manifest says
    └── RowRejected              one row that cannot be annotated; the run goes on

Messages say what is wrong, where (file and row) and what is allowed.
"""

from __future__ import annotations


class AsrDataError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(AsrDataError):
    """An invalid setting or option."""


class MissingDependencyError(ConfigError):
    """An optional package is missing; the message names the install command."""

    def __init__(self, package: str, purpose: str, command: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed: {command}")


class InputError(AsrDataError):
    """A data set that cannot be read or understood."""


class ScorerError(AsrDataError):
    """A reward model that cannot be loaded or run."""


class EndpointError(AsrDataError):
    """A model behind an endpoint that cannot be asked, or requests that failed for good."""


class JudgeError(EndpointError):
    """A judge that cannot be asked, or requests that failed for good."""


class CriticError(EndpointError):
    """A critic that cannot be asked, or requests that failed for good."""


class EngineError(EndpointError):
    """A server that runs a reward model and cannot be asked, or whose answers cannot be right."""


class StorageError(AsrDataError):
    """An output directory that cannot be written or read."""


class OutputExistsError(StorageError):
    """The output directory exists already, or holds something that is not ours."""


class CorruptFileError(StorageError):
    """A file whose content is not what the manifest says."""


class RowRejected(AsrDataError):  # noqa: N818 - a row's fate, not a program's failure
    """One row that cannot be annotated.

    Attributes:
        code: stable reason code, snake_case; the table of codes is ``asr_data_schemas.REJECT_CODES``.
        message: what is wrong with this row, for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
