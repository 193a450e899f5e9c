"""Pushes a finished output directory to a dataset repository on the Hub, in one commit.

If a step fails, the whole push is repeated: read the repository, compare, upload, commit. Nothing is sent twice: files
that the Hub has are not uploaded again, and a commit names its parent, so that the Hub rejects it (412) if the parent
is no longer the head, because of someone else's commit or of our own whose answer was lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from asr_data.errors import ConfigError
from asr_data.hub.failures import (
    HubError,
    explained,
    is_transient,
    is_unreachable,
    may_have_landed,
    redacted_error,
    seconds_to_wait,
)
from asr_data.hub.local import LocalFile, local_files
from asr_data.hub.remote import (
    REPOSITORY_TYPE,
    Changes,
    Snapshot,
    conflicts,
    find_changes,
    read_files,
    read_snapshot,
    same_content,
)
from asr_data.redact import Redactor, proxy_secrets, url_secrets, without_secrets

TRIES: Final = 6
"""The waits between six tries add up to 31 s, unless the Hub asks for others."""


_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PushReport:
    """Result of a push, or with ``dry_run`` what it would do.

    Attributes:
        repo_id: the repository.
        url: of the commit, of the pull request, or of the repository if nothing was committed.
        commit: the commit with the content of the directory; None for a dry run that would make one.
        uploaded: paths of uploaded files.
        uploaded_bytes: their total size.
        deleted: paths of an earlier push that the commit removed.
        unchanged: paths of files that the Hub already had.
        created: whether the repository was created.
        compared: False for a dry run that could not reach the Hub; every file then counts as new.
        dry_run: whether this was a dry run.
    """

    repo_id: str
    url: str
    commit: str | None
    uploaded: tuple[str, ...]
    uploaded_bytes: int
    deleted: tuple[str, ...]
    unchanged: tuple[str, ...]
    created: bool
    compared: bool = True
    dry_run: bool = False


def push(
    directory: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    tries: int = TRIES,
    api: HfApi | None = None,
) -> PushReport:
    """Push an output directory to a dataset repository, in one commit.

    Files are compared by hash; unchanged files are not sent, and if nothing changed there is no commit. Data files of
    an earlier push that the directory does not have are deleted by the same commit.

    Args:
        directory: a finished output of ``asr-annotate``; checked against its manifest first.
        repo_id: ``USER/NAME``; created if missing.
        private: create a private repository; an existing public one is an error.
        revision: branch to commit to, default ``main``; created from ``main`` if missing.
        create_pr: open a pull request instead of committing to ``main``.
        dry_run: only read, and report what would be done.
        tries: maximum number of tries while the Hub is busy or the connection fails.
        api: the client; default one for ``HF_ENDPOINT`` with the token of ``hf auth login`` or ``HF_TOKEN``.

    Raises:
        ConfigError: the arguments contradict each other, or ``repo_id`` is not ``USER/NAME``.
        CorruptFileError: the output is unfinished, or a file has changed since it was written.
        HubError: the Hub is unreachable or rejected a request; someone else changed the repository meanwhile, or it
            contains files that were not pushed by this package. Then nothing of the directory is visible.
    """
    _check_arguments(repo_id, revision, create_pr, tries)
    manifest, files = local_files(Path(directory))
    message = f"Annotated with asr-data {manifest.asr_data_version}, run {manifest.run_id}"
    api = api or HfApi()
    _check_access(api)
    task = _Push(api, repo_id, files, message, revision, private=private, create_pr=create_pr)
    redacted = Redactor(_secrets(api))
    try:
        report = _try(task, tries, dry_run=dry_run)
    except HubError as error:
        raise redacted_error(error, redacted) from None
    return replace(report, url=redacted(without_secrets(report.url)))


def _try(task: _Push, tries: int, *, dry_run: bool) -> PushReport:
    tried = 0
    while True:
        tried += 1
        try:
            return task.preview() if dry_run else task.attempt()
        except HubError:
            raise
        except Exception as error:
            wait = seconds_to_wait(error, tried)
            if dry_run or tried == tries or wait is None:
                raise task.failure(error, tried) from error
            time.sleep(wait)


def _secrets(api: HfApi) -> Iterator[str]:
    """What must not be shown although the server may repeat it: the token, and passwords in URLs."""
    token = api.token if isinstance(api.token, str) else get_token()
    yield from filter(None, (token, *url_secrets(api.endpoint), *proxy_secrets()))


def _check_access(api: HfApi) -> None:
    """What huggingface_hub would only find when it sends the first request, with errors that quote the token."""
    token = api.token if isinstance(api.token, str) else get_token()
    if token and not (token.isascii() and token.isprintable()):
        raise HubError("the Hub's token contains characters that an HTTP header cannot hold; set HF_TOKEN again")
    try:
        parts = urlsplit(api.endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise HubError("HF_ENDPOINT: not an address such as https://HOST")


def _check_arguments(repo_id: str, revision: str | None, create_pr: bool, tries: int) -> None:
    if _REPOSITORY.fullmatch(repo_id) is None:
        raise ConfigError(f"{repo_id!r} is not a repository name USER/NAME of letters, digits and . _ -")
    if create_pr and revision not in (None, "main"):
        raise ConfigError(f"a pull request is always to main; leave out the revision {revision!r}")
    if tries < 1:
        raise ConfigError(f"tries is {tries}; at least 1 is needed")


class _Push:
    """One push, with all its tries."""

    def __init__(
        self,
        api: HfApi,
        repo_id: str,
        files: tuple[LocalFile, ...],
        message: str,
        revision: str | None,
        *,
        private: bool,
        create_pr: bool,
    ) -> None:
        self._api = api
        self._url = f"{without_secrets(api.endpoint)}/datasets/{repo_id}"
        self._repo_id = repo_id
        self._files = files
        self._message = message
        self._revision = revision
        self._private = private
        self._create_pr = create_pr
        self._additions: dict[str, CommitOperationAdd] = {}
        self._first: Snapshot | None = None
        self._unsure: Changes | None = None
        self._done: tuple[Changes, CommitInfo] | None = None
        self._created = False

    def attempt(self) -> PushReport:
        """Do the remaining steps."""
        if self._done is None:
            remote = self._open()
            self._first = self._first or remote
            self._refuse_public(remote)
            self._refuse_changed(self._first, remote)
            plan = find_changes(self._api, self._repo_id, self._files, remote)
            if not plan:
                # Nothing to do from the start, or a commit whose answer was lost has arrived.
                url = self._url if self._unsure is None else f"{self._url}/commit/{remote.commit}"
                return self._report(self._unsure or plan, remote.commit, url)
            self._done = plan, self._commit(plan, remote)
        plan, commit = self._done
        self._check(commit, plan)
        return self._report(plan, commit.oid, commit.pr_url or commit.commit_url)

    def preview(self) -> PushReport:
        """What :meth:`attempt` would do, without writing."""
        try:
            remote = read_snapshot(self._api, self._repo_id, self._revision)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            self._created = True
            return replace(self._report(Changes(self._files), None, self._url), dry_run=True)
        except RevisionNotFoundError:  # the branch would be created from main
            remote = read_snapshot(self._api, self._repo_id, None)
        except Exception as error:
            if not is_unreachable(error):
                raise
            return replace(self._report(Changes(self._files), None, self._url), dry_run=True, compared=False)
        self._refuse_public(remote)
        plan = find_changes(self._api, self._repo_id, self._files, remote)
        return replace(self._report(plan, None if plan else remote.commit, self._url), dry_run=True)

    def failure(self, error: Exception, tried: int) -> Exception:
        """The error to raise after the last try."""
        known = explained(error, self._repo_id)
        if known is None or not is_transient(error):
            return known or error
        if self._done is not None:
            so_far = f"The commit was made ({self._done[1].commit_url}) but could not be verified."
        elif self._unsure is not None:
            so_far = "It is not known whether the commit arrived; push again to send only what is missing."
        else:
            so_far = "Nothing was committed; push again to continue without sending uploaded files twice."
        return HubError(f"{known}\nGave up after {tried} {'try' if tried == 1 else 'tries'}. {so_far}")

    def _open(self) -> Snapshot:
        """The repository as it is now; it and the branch are created if they do not exist."""
        try:
            return read_snapshot(self._api, self._repo_id, self._revision)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            # Not exist_ok: if it exists after all, 409 means to read it again.
            self._api.create_repo(self._repo_id, repo_type=REPOSITORY_TYPE, private=self._private or None)
            self._created = True
        except RevisionNotFoundError:
            self._api.create_branch(self._repo_id, branch=str(self._revision), repo_type=REPOSITORY_TYPE)
        return self._open()

    def _refuse_public(self, remote: Snapshot) -> None:
        if self._private and not remote.private:
            raise HubError(
                f"{self._repo_id}: exists and is public; make it private in its settings, or push to another repository"
            )

    def _refuse_changed(self, before: Snapshot, now: Snapshot) -> None:
        """Accept commits of others between tries, unless they touched files that this push writes or deletes."""
        touched = conflicts(self._files, before, now)
        if touched:
            raise HubError(
                f"{self._repo_id}: someone else changed {', '.join(touched[:3])} during this push (commit "
                f"{now.commit[:12]}). Nothing of theirs was overwritten; check it, and push again to replace it."
            )

    def _commit(self, plan: Changes, remote: Snapshot) -> CommitInfo:
        additions = [self._addition(file) for file in plan.upload]
        self._api.preupload_lfs_files(
            self._repo_id,
            additions,
            repo_type=REPOSITORY_TYPE,
            revision=self._revision,
            create_pr=self._create_pr,
            free_memory=False,
            gitignore_content="",  # the repository's own could silently leave out files
        )
        try:
            return self._api.create_commit(
                self._repo_id,
                [*additions, *(CommitOperationDelete(name, is_folder=False) for name in plan.delete)],
                commit_message=self._message,
                repo_type=REPOSITORY_TYPE,
                revision=self._revision,
                create_pr=self._create_pr,
                parent_commit=remote.commit,
            )
        except Exception as error:
            if not may_have_landed(error):
                raise
            self._unsure = plan
            if self._create_pr:  # a retry could open a second pull request
                raise HubError(
                    f"{explained(error, self._repo_id) or error}\nIt is not known whether the pull request was opened; "
                    f"check {self._url}/discussions before pushing again."
                ) from error
            raise

    def _addition(self, file: LocalFile) -> CommitOperationAdd:
        """The upload of a file; kept between tries, since it records whether it is done."""
        if file.name not in self._additions:
            addition = CommitOperationAdd(file.name, file.path)
            addition.upload_info.sha256 = bytes.fromhex(file.sha256)  # saves reading the file twice
            self._additions[file.name] = addition
        return self._additions[file.name]

    def _check(self, done: CommitInfo, plan: Changes) -> None:
        """Verify the content of the commit."""
        found = read_files(self._api, self._repo_id, done.oid)
        wrong = [file.name for file in self._files if not same_content(file, found.get(file.name))]
        wrong += [name for name in plan.delete if name in found]
        if wrong:
            raise HubError(f"{self._repo_id}: in commit {done.oid}, {', '.join(wrong[:3])} differs from what was sent")

    def _report(self, plan: Changes, commit: str | None, url: str) -> PushReport:
        return PushReport(
            repo_id=self._repo_id,
            url=url,
            commit=commit,
            uploaded=tuple(file.name for file in plan.upload),
            uploaded_bytes=sum(file.size for file in plan.upload),
            deleted=plan.delete,
            unchanged=plan.unchanged,
            created=self._created,
        )
