"""Shards on Ray: actors that load the models once and commit shards to the one output directory.

Ray only schedules. What is done is recorded in the directory, as for a run in one process: a shard whose worker dies
is given to another one, and a driver that dies can be started again. All processes see the same files under the same
paths.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from asr_data.errors import AsrDataError, ConfigError, MissingDependencyError, ScorerError, StorageError
from asr_data.pipeline.logprobs import LogProbabilities, reference_record
from asr_data.pipeline.shard_jobs import LocalPool, ShardJob
from asr_data.progress import Progress, Silent
from asr_data.scoring.allocator import settle_memory
from asr_data.scoring.protocol import Scored, Scorer, ScorerInfo
from asr_data.storage import ReferenceRecord
from asr_data.storage.output import OutputDirectory
from asr_data.text.align import AlignedRow
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32, Row

_ATTEMPTS: Final = 3
"""Workers that may die working on one shard before the run fails."""
_PATIENCE: Final = 30.0
"""Seconds without any worker after which a run says what it is waiting for."""
_OBJECT_STORE_BYTES: Final = 128 * 2**20
"""Of a local Ray: jobs and counts go through it, no rows."""


@dataclass(frozen=True, slots=True)
class RemoteScorer:
    """Describes the scorer that the workers have loaded."""

    info: ScorerInfo
    tokenizer: Tokenizer | None

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        """Not in this process."""
        del rows, on_tokens
        raise ScorerError(f"the model {self.info.name} is loaded in Ray's workers, not here")


@dataclass(frozen=True, slots=True)
class RemoteReference:
    """Describes the reference that the workers have loaded."""

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    dtype: str

    def log_probabilities(
        self, rows: Sequence[AlignedRow], on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Float32] | None]:
        """Not in this process."""
        del rows, on_tokens
        raise ScorerError(f"the model {self.name} is loaded in Ray's workers, not here")


@dataclass(frozen=True, slots=True)
class Loaders:
    """How a worker loads its models; pickled, so functions of modules with plain arguments."""

    scorer: Callable[[], Scorer]
    reference: Callable[[], LogProbabilities] | None = None


class _Worker:
    """One process, whose models the first call of :meth:`models` loads."""

    def __init__(self, loaders: Loaders, folder: str) -> None:
        self._loaders, self._folder = loaders, folder

    def models(self) -> tuple[RemoteScorer, RemoteReference | None]:
        """Load and describe them."""
        if not Path(self._folder).is_dir():
            raise ConfigError(f"host {socket.gethostname()} has no {self._folder}, where the run was started")
        os.chdir(self._folder)  # relative paths mean the same here as there
        settle_memory()  # the process is ours
        scorer = self._loaders.scorer()
        reference = None if self._loaders.reference is None else self._loaders.reference()
        self._pool = LocalPool(scorer, reference)
        who = RemoteScorer(scorer.info, scorer.tokenizer)
        if reference is None:
            return who, None
        return who, RemoteReference(reference.name, reference.fingerprint, reference.tokenizer, reference.dtype)

    def shard(self, job: ShardJob, output: str, owner: dict[str, Any], index: int) -> int:
        """Do one shard; the number of tokens scored."""
        before = self._pool.tokens
        directory = OutputDirectory.join(Path(output), job.plan, owner)
        with directory.holding(index):
            self._pool.work(job, directory, [index], Silent())
        return self._pool.tokens - before


class RayPool:
    """Workers on a Ray cluster. Used as a context manager; :attr:`scorer` and :attr:`reference` describe the
    models.

    Args:
        address: of a running cluster (``auto``, ``HOST:PORT``), or ``local`` for one that is started here and ends with
            this process.
        loaders: how a worker loads its models.
        workers: how many; default one per GPU, or per CPU where GPUs are not used.
        gpus: per worker; default one where the cluster has any.
        tell: called with a message when workers take long to start.

    Attributes:
        tokens: prompt and response tokens scored so far.
    """

    scorer: RemoteScorer
    reference: RemoteReference | None

    def __init__(
        self,
        address: str,
        loaders: Loaders,
        *,
        workers: int | None = None,
        gpus: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ray = _import_ray()
        self._address, self._loaders, self._workers, self._gpus = address, loaders, workers, gpus
        self._tell = tell
        self._began_ray = False
        self._asked: dict[Any, Any] = {}  # a reply that is to come, and the worker it is asked of
        self._idle: list[Any] = []
        self._lost = 0
        self.tokens = 0

    def __enter__(self) -> RayPool:
        if not self._ray.is_initialized():
            _begin(self._ray, self._address)
            self._began_ray = True
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in [*self._asked.values(), *self._idle]:
            with suppress(Exception):
                self._ray.kill(worker)
        self._asked.clear()
        self._idle.clear()
        if self._began_ray:
            self._ray.shutdown()

    def work(self, job: ShardJob, directory: OutputDirectory, shards: Sequence[int], progress: Progress) -> None:
        """See :class:`asr_data.pipeline.shard_jobs.ShardPool`. After an error the pool can only be closed.

        Raises:
            StorageError: several workers died working on one shard.
            ConfigError: a worker's models are not those of the first.
            AsrDataError: what a worker's shard raised.
        """
        missing = [index for index in shards if not _is_done(job, directory, index)]
        done = sum(len(job.rows(range(index, index + 1))) for index in set(shards) - set(missing))
        first = shards[0] * job.plan.output.shard_rows if shards else 0
        task = self._ray.put(job), str(directory.path.resolve()), directory.owner
        at_work: dict[Any, int] = {}
        lost: Counter[int] = Counter()
        while missing or at_work:
            while missing and self._idle:
                index, worker = missing.pop(0), self._idle.pop()
                reply = worker.shard.remote(*task, index)
                at_work[reply], self._asked[reply] = index, worker
            reply, worker = self._next()
            shard = at_work.pop(reply, None)
            try:
                answer = self._answer(reply)
            except _WorkerDiedError as error:
                self._replace()
                if shard is None:
                    self._count_lost(error)
                    continue
                missing.insert(0, shard)
                lost[shard] += 1
                if lost[shard] == _ATTEMPTS:
                    raise StorageError(f"shard {shard}: {_ATTEMPTS} workers died working on it: {error}") from error
                continue
            if shard is None:
                _require_same_models((self.scorer, self.reference), answer)
            else:
                _require_done(job, directory, shard)
                self.tokens += answer
                done += len(job.rows(range(shard, shard + 1)))
                progress.update("scoring", first + done, job.plan.input.rows, self.tokens)
            self._idle.append(worker)

    def _start(self) -> None:
        """Ask for all workers; wait for the first."""
        resources = self._ray.cluster_resources()
        gpus, cpus = resources.get("GPU", 0.0), resources.get("CPU", 1.0)
        if self._gpus is None:
            self._gpus = 1.0 if gpus else 0.0
        count = self._workers or max(1, int(gpus / self._gpus if self._gpus else cpus))
        for _ in range(count):
            self._replace()
        needs = f"1 CPU and {self._gpus:g} GPUs; the cluster has {cpus:g} and {gpus:g}"
        while True:
            if not self._ray.wait(list(self._asked), num_returns=1, timeout=_PATIENCE)[0]:
                self._tell(f"waiting for Ray to place a worker: {needs}")
            reply, worker = self._next()
            try:
                self.scorer, self.reference = self._answer(reply)
            except _WorkerDiedError as error:
                self._replace()
                self._count_lost(error)
            else:
                self._idle.append(worker)
                return

    def _replace(self) -> None:
        """Ask for a worker, which loads its models."""
        kind = self._ray.remote(_Worker).options(num_cpus=1, num_gpus=self._gpus, max_restarts=0)
        worker = kind.remote(self._loaders, str(Path.cwd()))
        self._asked[worker.models.remote()] = worker

    def _count_lost(self, error: Exception) -> None:
        self._lost += 1
        if self._lost == _ATTEMPTS:
            raise ScorerError(f"{_ATTEMPTS} workers died while loading their models: {error}") from error

    def _next(self) -> tuple[Any, Any]:
        """The next reply to arrive, and its worker."""
        [reply], _ = self._ray.wait(list(self._asked), num_returns=1)
        return reply, self._asked.pop(reply)

    def _answer(self, reply: Any) -> Any:
        """A worker's reply; its errors are raised as if they were from here."""
        try:
            return self._ray.get(reply)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AsrDataError):
                raise error.cause from error
            raise
        except self._ray.exceptions.RayActorError as error:
            raise _WorkerDiedError(str(error)) from error


class _WorkerDiedError(Exception):
    """A worker ended before it replied."""


_HERE: Final = "127.0.0.1"


def _begin(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # report this run to nobody
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        # On loopback, so that other machines cannot reach it.
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES, "_node_ip_address": _HERE}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--ray {address}: no such cluster can be reached: {error}") from error


def _is_done(job: ShardJob, directory: OutputDirectory, index: int) -> bool:
    return all(directory.committed(stage, index) is not None for stage in job.stages)


def _require_done(job: ShardJob, directory: OutputDirectory, index: int) -> None:
    if not _is_done(job, directory, index):
        raise StorageError(
            f"{directory.path}: a worker has committed shard {index}, but its files cannot be seen from here; the "
            "output must be on a file system that all nodes share"
        )


def _require_same_models(
    first: tuple[RemoteScorer, RemoteReference | None], other: tuple[RemoteScorer, RemoteReference | None]
) -> None:
    mine, theirs = _who(*first), _who(*other)
    different = [f"{name}: {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]
    if different:
        raise ConfigError("the workers have different models or settings:\n  " + "\n  ".join(different))


def _who(scorer: RemoteScorer, reference: RemoteReference | None) -> dict[str, Any]:
    info = scorer.info
    record: ReferenceRecord | None = None if reference is None else reference_record(reference)
    return {
        "fingerprint": info.fingerprint,
        "settings": dict(info.settings),
        "tokenizer": None if scorer.tokenizer is None else scorer.tokenizer.fingerprint,
        "reference": record,
    }


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingDependencyError("ray", "--ray", "pip install 'asr-data[ray]'") from error
    return ray
