from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asr_data.config import MaskConfig, Optimal, Schmitt
from asr_data.errors import OutputExistsError
from asr_data.view.server.keep import SettingsFile


def options(config: MaskConfig) -> str:
    return f"--segmenter {config.segmenter.kind} --delta auto:2 --boundary word=50,clause=10 --detrend"


def test_each_option_by_its_name(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "run.yaml", options)
    file.keep(MaskConfig(segmenter=Schmitt()), replace=False)
    assert yaml.safe_load(file.path.read_text(encoding="utf-8")) == {
        "segmenter": "schmitt",
        "delta": "auto:2",
        "boundary": "word=50,clause=10",
        "detrend": True,
    }


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "run.yaml", options)
    file.path.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"run\.yaml is there already"):
        file.keep(MaskConfig(), replace=False)
    assert file.path.read_text(encoding="utf-8") == "mine"
    file.keep(MaskConfig(), replace=True)
    assert "segmenter" in file.path.read_text(encoding="utf-8")
    link = SettingsFile(tmp_path / "link.yaml", options)
    link.path.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(OutputExistsError):
        link.keep(MaskConfig(), replace=True)


def test_the_command_can_be_typed() -> None:
    command = SettingsFile(Path("run.yaml"), options).command(
        MaskConfig(segmenter=Optimal()), Path("a b"), Path("a b-x")
    )
    assert command.startswith("asr-annotate mask 'a b' -o 'a b-x' --segmenter optimal ")
