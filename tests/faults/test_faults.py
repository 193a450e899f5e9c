"""The fault campaign in short; ``make faults`` is the long form. What is broken is listed by the assertion."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_data.storage.commit import COMMIT_POINTS
from tests.faults import corrupting, failing, hostile, killing, scoring
from tests.faults.lab import Lab, Outcome


def check(outcome: Outcome) -> dict[str, int]:
    """Nothing is broken, and something was tried."""
    assert outcome.broken == []
    assert sum(outcome.tried.values()) > 0
    return outcome.tried


def test_killed_at_each_kind_of_commit_point(lab: Lab) -> None:
    tried = check(killing.at_commit_points(lab, 0, ("run",)))
    assert tried["run: names of points"] == len(COMMIT_POINTS)


def test_killed_at_random_moments(lab: Lab) -> None:
    assert check(killing.at_random_moments(lab, 4))["run"] >= 4


def test_told_to_stop(lab: Lab) -> None:
    check(killing.told_to_stop(lab, 2))


def test_a_call_of_the_system_fails(lab: Lab) -> None:
    assert check(failing.kth_call_fails(lab, 2)) == {"write": 2, "fsync": 2, "rename": 2}


def test_disk_full(lab: Lab) -> None:
    try:
        with failing.small_disk(lab.folder / "mount", "size=64k"):
            pass
    except (OSError, PermissionError) as error:
        pytest.skip(f"needs root and the command mount, for a small disk: {error}")
    check(failing.disk_full(lab, 3, lab.folder / "mount"))


def test_corrupt_files_of_a_finished_output(lab: Lab) -> None:
    check(corrupting.finished_output(lab, flips=2))


def test_corrupt_files_of_an_unfinished_output(lab: Lab) -> None:
    check(corrupting.unfinished_output(lab, flips=1, most=8))


def test_faulty_scorers(tmp_path: Path) -> None:
    check(scoring.faulty_scorers(tmp_path, rows=2))


def test_rows_by_hypothesis(tmp_path: Path) -> None:
    check(hostile.any_rows(tmp_path, 15))


def test_hostile_rows_and_files(tmp_path: Path) -> None:
    assert check(hostile.rows_and_files(tmp_path, rows=60, files=24))["rows"] == 60


def test_hostile_settings_and_manifests(tmp_path: Path) -> None:
    check(hostile.settings_and_manifests(tmp_path, 24))
