"""Which versions of TRL the trainers work with: `tests/trl` in an environment of its own for each.

    python -m benchmarks.trl_versions [VERSION ...] [--venvs DIR]

An environment stands on top of the present one: it holds TRL and what that version needs in other versions than are
installed here, and torch is not installed again. Prints Markdown; ``docs/trainers.md`` keeps what came out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

VERSIONS = ("1.16.0", "1.15.0", "1.14.2", "1.12.0", "1.8.0", "1.4.0", "1.0.0")
BESIDE = ("transformers", "accelerate", "datasets", "peft", "torch")


def environment(version: str, folder: Path) -> Path:
    """The interpreter of an environment with this version of TRL; made where it is missing."""
    python = folder / f"trl-{version}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parent.parent], check=True)
        own = subprocess.run([python, "-c", _SITE], check=True, capture_output=True, text=True).stdout.strip()
        # Packages of the present environment come after the new one's own.
        (Path(own) / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"trl=={version}"], check=True)
    return python


_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def tested(python: Path) -> tuple[Mapping[str, int], list[str]]:
    """How many tests passed, failed and were skipped, and the names of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-p", "no:cacheprovider", "--continue-on-collection-errors", f"--junitxml={report}"]
        command = [str(python), "-m", "pytest", "tests/trl", *options]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            sys.exit(run.stdout + run.stderr)
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it
    bad = [case.get("name", "") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - len(bad) - skipped, "failed": len(bad), "skipped": skipped}, bad


def installed(python: Path) -> list[str]:
    """Versions of the packages beside TRL that decide."""
    code = f"from importlib.metadata import version; print(*map(version, {BESIDE!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    """Test every version asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--venvs", type=Path, help="keep the environments here")
    arguments = parser.parse_args()
    print(f"| TRL | {' | '.join(BESIDE)} | passed | failed | skipped |")
    print(f"|---|{'---|' * len(BESIDE)}---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for version in arguments.versions:
            python = environment(version, arguments.venvs or Path(temporary))
            counts, bad = tested(python)
            cells = [version, *installed(python), *map(str, counts.values())]
            print(f"| {' | '.join(cells)} |", flush=True)
            for name in bad:
                print(f"  {version}: {name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
