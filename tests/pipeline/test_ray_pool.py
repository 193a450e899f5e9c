"""A real Ray on this machine: the same bytes as in one process, whatever dies on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import OutputConfig, Part
from asr_data.errors import ConfigError, MissingDependencyError, StorageError
from asr_data.pipeline import merge, run, score
from asr_data.pipeline.ray_pool import Loaders, RayPool
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.config import RuleConfig
from asr_data.scoring.rule import load_rule
from asr_data.storage import validate

# A file die… in the working directory kills one process that scores row 4; SLOW makes it take its time.
RULE = """
import os, signal, time
from pathlib import Path

def score(prompt, response):
    if "First" in response:
        for mark in sorted(Path().glob("die*")):
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("SLOW", 0)))
    return [(0, len(response), float(len(response) % 7))]

def elsewhere(prompt, response):
    with open("nodes", "a") as file:
        file.write(f"{os.getppid()}" + chr(10))  # a node's own process, which begins its workers
    time.sleep(0.5)
    return score(prompt, response)
"""
# Not load_scorer, which imports torch: there are many workers.
LOAD = partial(load_rule, RuleConfig(function="ray_rule:score"))


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its files; short, for the names of its sockets."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'asr-data[ray]'")
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    settings = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    before = dict(os.environ)
    os.environ.update(settings, RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    yield folder
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> set[int]:
    """Children of a process, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain for five minutes")


@pytest.fixture
def case(bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch, ray_folder: Path) -> Any:
    """Nine pairs, the rule where workers find it, and what one process makes of them."""
    (bench.folder / "ray_rule.py").write_text(RULE)
    monkeypatch.chdir(bench.folder)
    monkeypatch.syspath_prepend(bench.folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(bench.folder), *sys.path]))
    bench.tokenizer.hf.save_pretrained("policy")
    bench.write(pairs)
    run(*opened(), Path("whole"), LOAD(), bench.tokenizer, writing=WRITING)
    return bench


WRITING = OutputConfig(shard_rows=2)


def opened() -> Any:
    source = open_source("in.jsonl")
    return source, detect(source.schema, first_records(source))


def run_on(pool: RayPool, tokenizer: Any, name: str = "out", **options: Any) -> Any:
    return run(*opened(), Path(name), pool.scorer, tokenizer, writing=WRITING, pool=pool, **options)


def test_workers_that_die_lose_and_double_nothing(case: Any) -> None:
    with RayPool("local", Loaders(LOAD), workers=2) as pool:
        run_on(pool, case.tokenizer)
        assert case.files("out") == case.files("whole")
        Path("die").touch()
        summary = run_on(pool, case.tokenizer, "after")
        assert not Path("die").exists()
        assert (summary.annotated, summary.rejected) == (7, 2)
        assert case.files("after") == case.files("whole")
        # A part, and a score without masks.
        for index in range(2):
            run_on(pool, case.tokenizer, f"part{index}", part=Part(num_shards=2, shard_index=index))
        merge([Path("part0"), Path("part1")], Path("merged"))
        assert case.files("merged") == case.files("whole")
        score(*opened(), Path("scored"), pool.scorer, writing=WRITING, pool=pool)
        score(*opened(), Path("scored-here"), LOAD(), writing=WRITING)
        assert case.files("scored") == case.files("scored-here")
        # A shard that costs three workers ends the run, and names itself; later it goes on.
        for mark in ("die-1", "die-2", "die-3"):
            Path(mark).touch()
        with pytest.raises(StorageError, match="shard 2: 3 workers died working on it"):
            run_on(pool, case.tokenizer, "stubborn")
    run(*opened(), Path("stubborn"), LOAD(), case.tokenizer, writing=WRITING)
    assert case.files("stubborn") == case.files("whole")


def test_a_driver_that_is_killed_goes_on_and_leaves_no_process(case: Any, ray_folder: Path) -> None:
    program = "from asr_data_cli.app import main; main()"
    asked = "run in.jsonl --kind rule --model ray_rule:score --tokenizer policy --shard-rows 2 -o out"
    words = [*asked.split(), "--ray", "local", "--ray-workers", "2"]
    slow = {**os.environ, "SLOW": "0.5"}
    with subprocess.Popen([sys.executable, "-c", program, *words], env=slow, stdout=subprocess.DEVNULL) as driver:
        wait_until(lambda: driver.poll() is not None or any(Path("out/.asr-work/shards").glob("align-*.json")))
        assert driver.poll() is None
        begun = descendants(driver.pid)
        workers = [pid for pid in begun if b"_Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        driver.send_signal(signal.SIGKILL)
    done = [path.name for path in Path("out/.asr-work/shards").glob("align-*.json")]
    assert 0 < len(done) < 5
    run(*opened(), Path("out"), LOAD(), case_tokenizer(), writing=WRITING)
    assert validate(Path("out")) == []
    assert len(workers) == 2
    wait_until(lambda: not any(map(is_there, workers)))
    for pid in filter(is_there, begun):  # agents of Ray's own, which take a minute to see that they are alone
        os.kill(pid, signal.SIGKILL)
    run(*opened(), Path("again"), LOAD(), case_tokenizer(), writing=WRITING)
    assert case.files("out") == case.files("again")


def case_tokenizer() -> Any:
    from asr_data.text import load_tokenizer

    return load_tokenizer("policy")


def test_two_nodes_share_the_shards_and_one_may_go(case: Any, ray_folder: Path) -> None:
    from ray.cluster_utils import Cluster

    load = partial(load_rule, RuleConfig(function="ray_rule:elsewhere"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=2)
        with RayPool(cluster.address, Loaders(load), workers=4) as pool:

            class Watch:
                def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
                    if len(set(Path("nodes").read_text().split())) == 2 and other in cluster.list_all_nodes():
                        cluster.remove_node(other, allow_graceful=False)

                def message(self, text: str) -> None:
                    pass

            run_on(pool, case.tokenizer, progress=Watch())
        assert other not in cluster.list_all_nodes()
        run(*opened(), Path("here"), load(), case.tokenizer, writing=WRITING)
    finally:
        cluster.shutdown()
    assert case.files("out") == case.files("here")


def test_an_address_without_a_cluster_is_said_so(ray_folder: Path) -> None:
    with pytest.raises(ConfigError, match="--ray auto: no such cluster can be reached"), RayPool("auto", Loaders(LOAD)):
        pytest.fail("there is a cluster")


def test_without_ray_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"--ray needs .*pip install 'asr-data\[ray\]'"):
        RayPool("local", Loaders(LOAD))
