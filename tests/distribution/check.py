"""``make dist-check``: build sdist and wheel, and try both as a user gets them, outside of the checkout.

Takes minutes and some gigabytes, so it is no test of ``make test``. What pip is given beyond the wheel, such as an
index, comes from the user's own pip configuration or from ``PIP_ARGS``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = {
    "asr_data": "asr_data",
    "cli/asr_data_cli": "asr_data_cli",
    "schemas/asr_data_schemas": "asr_data_schemas",
}
"""Folder in the checkout → package in the wheel."""


def main() -> None:
    """Build, compare, install, run the demo; say how large everything is."""
    with tempfile.TemporaryDirectory(prefix="asr-data-dist-") as name:
        place = Path(name)
        wheel, sdist = build(place)
        compare(wheel, sdist)
        say(f"wheel {_megabytes(wheel)}, sdist {_megabytes(sdist)}: {len(_in_wheel(wheel))} files")
        for artifact in (wheel, sdist):
            try_out(artifact, place)
    say("wheel and sdist work")


def build(place: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, from a copy of what git has: nothing that lies about in the checkout can get in."""
    tree = place / "tree"
    tree.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for file in filter(None, files.decode().split("\0")):
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tree / file)
    python = environment(place / "build")
    run(python, "-m", "pip", "install", "--quiet", "build")
    run(python, "-m", "build", "--outdir", place / "dist", tree)
    [wheel], [sdist] = (place / "dist").glob("*.whl"), (place / "dist").glob("*.tar.gz")
    return wheel, sdist


def compare(wheel: Path, sdist: Path) -> None:
    """Every file of the packages must be in both, and nothing else in the wheel."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    right = {
        f"{package}/{file.removeprefix(f'{folder}/')}"
        for file in tracked
        for folder, package in _SOURCES.items()
        if file.startswith(f"{folder}/")
    }
    if _in_wheel(wheel) != right:
        raise SystemExit(f"wheel and checkout differ: {sorted(_in_wheel(wheel) ^ right)}")
    with tarfile.open(sdist) as archive:
        there = {member.name.partition("/")[2] for member in archive.getmembers()}
    missing = {file for file in tracked if file.startswith(tuple(_SOURCES)) and file not in there}
    if missing:
        raise SystemExit(f"missing in the sdist: {sorted(missing)}")


def try_out(artifact: Path, place: Path) -> None:
    """Install into an environment of its own, in the words of the README, and run the demo there."""
    started = time.monotonic()
    home = place / artifact.suffix.removeprefix(".")
    python = environment(home)
    program = python.with_name("asr-annotate")
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *_pip_arguments(), artifact)
    run(program, "install-builtin")
    found = run(python, "-c", "import asr_data; print(asr_data.__file__)", cwd=place).strip()
    if not Path(found).is_relative_to(home):
        raise SystemExit(f"asr_data comes from {found}, not from {home}")
    shown = run(program, "demo", "-o", place / f"demo-{home.name}", cwd=place)
    if not re.search(r"^valid: ", shown, re.MULTILINE):
        raise SystemExit(f"the demo of {artifact.name} does not end well:\n{shown}")
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file() and not file.is_symlink())
    torch = run(python, "-c", "import torch; print(torch.__version__)", cwd=place).strip()
    took = time.monotonic() - started
    say(f"{artifact.name}: installed {size / 1e9:.2f} GB (torch {torch}), demo done, {took:.0f} s")
    shutil.rmtree(home)


def environment(path: Path) -> Path:
    """A new virtual environment; its Python."""
    run(sys.executable, "-m", "venv", path)
    return path / "bin" / "python"


def run(*words: object, cwd: Path | None = None) -> str:
    """Run a command that must succeed, with nothing of the checkout on its path; what it printed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed with code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)


def _in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _pip_arguments() -> list[str]:
    return shlex.split(os.environ.get("PIP_ARGS", ""))


if __name__ == "__main__":
    main()
