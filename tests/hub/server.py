"""A small Hub for dataset repositories, over real HTTP on loopback, with faults to order.

Speaks what ``huggingface_hub`` and ``datasets`` ask for when data sets are pushed and loaded, as the clients' source
says it: repositories, branches and pull requests as commits with a parent, files in git or in LFS, trees in pages,
and files with ranges.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_DummyTokenForTestsOnly"
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "odc-by", "other", "unknown")
DROP = "drop"
LOSE_ANSWER = "lose the answer"


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool

    @property
    def git_oid(self) -> str:
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


@dataclass(frozen=True)
class Commit:
    parent: str | None
    title: str
    tree: Mapping[str, Blob]

    @property
    def oid(self) -> str:
        text = repr((self.parent, self.title, sorted((path, blob.git_oid) for path, blob in self.tree.items())))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, tree: Mapping[str, Blob], title: str, onto: str | None = None) -> Commit:
        """A commit on top of ``branch``, or on top of ``onto`` for a new branch."""
        commit = Commit(self.branches.get(branch, onto), title, dict(tree))
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def tree(self, branch: str = "main") -> dict[str, bytes]:
        return {path: blob.content for path, blob in self.commits[self.branches[branch]].tree.items()}

    def history(self, branch: str = "main") -> list[str]:
        """Titles of the commits, newest first."""
        titles, oid = [], self.branches.get(branch)
        while oid is not None:
            titles.append(self.commits[oid].title)
            oid = self.commits[oid].parent
        return titles


@dataclass
class Fault:
    """What goes wrong the next ``times`` times that ``step`` is asked for: a status, ``DROP`` or ``LOSE_ANSWER``."""

    step: str
    kind: int | str
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message} | ({} if code is None else {"X-Error-Code": code})
        self.answer = Answer(status, json.dumps({"error": message}).encode(), headers)


class HubServer:
    """The server and what it holds. Use as a context manager.

    Attributes:
        url: endpoint.
        repositories: id to repository.
        stored: content of LFS files by SHA-256, committed or not.
        faults: what goes wrong next.
        steps: every step asked for, in order, those that failed included.
        before: called with each step before it is done; may change repositories.
    """

    PAGE = 3

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.steps: list[str] = []
        self.users = {TOKEN: ("me",)}
        self.before: Callable[[str], None] = lambda step: None
        self.lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def create(self, repo_id: str, private: bool = False, files: Mapping[str, bytes] | None = None) -> Repository:
        """A repository as the Hub makes it, with ``files`` on top."""
        repository = self.repositories[repo_id] = Repository(private)
        attributes = {".gitattributes": Blob(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n", lfs=False)}
        repository.add("main", attributes, "initial commit")
        if files:
            blobs = {path: Blob(content, is_lfs(path)) for path, content in files.items()}
            repository.add("main", attributes | blobs, "before")
        return repository

    def fault(self, step: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.step == step and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def find(self, repo_id: str, user: str | None) -> Repository:
        repository = self.repositories.get(repo_id)
        if repository is None or (repository.private and user != repo_id.partition("/")[0]):
            # Who is not logged in is not told what exists.
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound" if user else None)
        return repository

    def writable(self, repo_id: str, user: str | None) -> Repository:
        repository = self.find(repo_id, user)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user != repo_id.partition("/")[0]:
            raise Refusal(403, "You don't have write access to this repository")
        return repository

    def commit(self, repository: Repository, revision: str) -> Commit:
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository.commits[oid]


def is_lfs(path: str) -> bool:
    return path.endswith(".parquet")


# --- the steps ---------------------------------------------------------------------------------------------------
# Each gets the server, the user, the matched parts of the path, the query and the body.

Query = Mapping[str, str]
Step = Callable[[HubServer, str | None, Mapping[str, str], Query, bytes], Answer]


def reply(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers)


def create(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    wanted = json.loads(body)
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    owner = wanted["organization"] or user
    if owner != user:
        raise Refusal(403, f"You don't have the rights to create a dataset under the namespace {owner!r}")
    repo_id = f"{owner}/{wanted['name']}"
    url = f"{server.url}/datasets/{repo_id}"
    if repo_id in server.repositories:
        return reply({"error": "You already created this dataset repo", "url": url}, 409)
    server.create(repo_id, private=wanted.get("visibility") == "private")
    return reply({"url": url, "name": repo_id})


def branch(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    repository = server.writable(path["id"], user)
    if path["revision"] in repository.branches:
        raise Refusal(409, "Reference already exists")
    repository.branches[path["revision"]] = repository.branches["main"]
    return reply({})


def info(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    repository = server.find(path["id"], user)
    commit = server.commit(repository, path.get("revision") or "main")
    siblings = [{"rfilename": name} for name in sorted(commit.tree)]
    return reply({"id": path["id"], "sha": commit.oid, "private": repository.private, "siblings": siblings, "tags": []})


def entry(path: str, blob: Blob) -> dict[str, Any]:
    found = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.git_oid}
    if blob.lfs:
        found["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
    return found


def tree(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    """The entries below a folder, in pages."""
    commit = server.commit(server.find(path["id"], user), path["revision"])
    folder = f"{path['path']}/" if path.get("path") else ""
    below = {name: blob for name, blob in sorted(commit.tree.items()) if name.startswith(folder)}
    if folder and not below:
        raise Refusal(404, f"{path['path']} does not exist", "EntryNotFound")
    entries, folders = [], set()
    for name, blob in below.items():
        inner = name[len(folder) :].split("/")[:-1]
        folders |= {folder + "/".join(inner[: depth + 1]) for depth in range(len(inner))}
        if query.get("recursive", "").lower() == "true" or not inner:
            entries.append(entry(name, blob))
    if query.get("recursive", "").lower() != "true":
        folders = {name for name in folders if "/" not in name[len(folder) :]}
    entries += [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]
    start = int(query.get("cursor", 0))
    page = entries[start : start + server.PAGE]
    if start + server.PAGE >= len(entries):
        return reply(page)
    where = f"{server.url}{path['url']}?recursive={query.get('recursive', 'false')}&cursor={start + server.PAGE}"
    return reply(page, Link=f'<{where}>; rel="next"')


def paths_info(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    commit = server.commit(server.find(path["id"], user), path["revision"])
    wanted = parse_qs(body.decode())["paths"] if not body.startswith(b"{") else json.loads(body)["paths"]
    found = [entry(name, commit.tree[name]) for name in wanted if name in commit.tree]
    folders = [name for name in wanted if any(other.startswith(f"{name}/") for other in commit.tree)]
    return reply([*found, *({"type": "directory", "path": name, "oid": "0" * 40} for name in folders)])


def preupload(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    repository = server.writable(path["id"], user)
    committed = server.commit(repository, path["revision"]).tree
    files = []
    asked = json.loads(body)
    rules = asked.get("gitIgnore", committed.get(".gitignore", Blob(b"", lfs=False)).content.decode())
    for file in asked["files"]:
        base64.b64decode(file["sample"], validate=True)
        mode = "lfs" if is_lfs(file["path"]) else "regular"
        old = committed.get(file["path"])
        ignored = any(fnmatch(file["path"], rule) for rule in rules.splitlines())
        said = {"path": file["path"], "uploadMode": mode, "shouldIgnore": ignored}
        files.append(said | ({} if old is None else {"oid": old.etag}))
    return reply({"files": files})


def lfs_batch(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    server.writable(path["id"], user)
    objects = []
    for item in json.loads(body)["objects"]:
        verify = {"href": f"{server.url}/datasets/{path['id']}.git/info/lfs/objects/verify"}
        upload = {"href": f"{server.url}/storage/{item['oid']}?Signature=secret"}
        there = item["oid"] in server.stored
        objects.append(item if there else item | {"actions": {"upload": upload, "verify": verify}})
    return reply({"transfer": "basic", "objects": objects})


def lfs_put(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    if hashlib.sha256(body).hexdigest() != path["oid"]:
        raise Refusal(400, "the content is not what its name says")
    server.stored[path["oid"]] = body
    return Answer(body=b"")


def lfs_verify(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    wanted = json.loads(body)
    if len(server.stored.get(wanted["oid"], b"")) != wanted["size"]:
        raise Refusal(404, "object not found")
    return reply({})


def validate_yaml(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    """The Hub's rules for a data set's card, as far as they are documented."""
    wanted = json.loads(body)
    assert wanted["repoType"] == "dataset"
    match = re.match(r"---\n(.*?)\n---\n", wanted["content"], flags=re.DOTALL)
    card = yaml.safe_load(match.group(1)) if match else None
    problems = ["empty or missing yaml metadata"] if not isinstance(card, dict) else list(card_problems(card))
    errors = [{"message": problem} for problem in problems]
    return reply({"errors": errors, "warnings": []}, 400 if errors else 200)


def card_problems(card: Mapping[str, Any]) -> list[str]:
    def texts(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    problems = [f'"{key}" must be an array of strings' for key in ("tags",) if not texts(card.get(key, []))]
    if card.get("license", "mit") not in LICENSES:
        problems.append(f'"license" must be one of [{", ".join(LICENSES)}]')
    sizes = card.get("size_categories", [])
    if not texts(sizes) or not all(re.fullmatch(r"n<1K|\d+[KMBT]?<n<\d+[KMBT]|n>1T", size) for size in sizes):
        problems.append('"size_categories" must be one of [n<1K, 1K<n<10K, …]')
    names = []
    for config in card.get("configs", []):
        names.append(config.get("config_name"))
        if not re.fullmatch(r"[^<>:/\\|?*]+", str(names[-1])):
            problems.append('"configs.config_name" has characters that are not allowed')
        for files in config["data_files"]:
            if not isinstance(files["split"], str) or not texts(files["path"]):
                problems.append('"configs.data_files" must have a split and paths')
    if names != [described["config_name"] for described in card.get("dataset_info", [])]:
        problems.append('"dataset_info" is not that of "configs"')
    return problems


def commit(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    header, *operations = [json.loads(line) for line in body.splitlines()]
    assert header["key"] == "header"
    repository = server.writable(path["id"], user)
    parent = server.commit(repository, path["revision"])
    if header["value"].get("parentCommit", parent.oid) != parent.oid:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(parent.tree)
    for operation in operations:
        value = operation["value"]
        if operation["key"] == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"], validate=True), lfs=False)
        elif operation["key"] == "lfsFile":
            if value["oid"] not in server.stored:
                raise Refusal(400, f"LFS pointer points to a file that does not exist: {value['oid']}")
            files[value["path"]] = Blob(server.stored[value["oid"]], lfs=True)
        elif files.pop(value["path"], None) is None:
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
    where = f"{server.url}/datasets/{path['id']}"
    if "create_pr" not in query:
        made = repository.add(path["revision"], files, header["value"]["summary"])
        return reply({"commitUrl": f"{where}/commit/{made.oid}", "commitOid": made.oid})
    number = sum(name.startswith("refs/pr/") for name in repository.branches) + 1
    made = repository.add(f"refs/pr/{number}", files, header["value"]["summary"], onto=parent.oid)
    pull = f"{where}/discussions/{number}"
    return reply({"commitUrl": f"{where}/commit/{made.oid}", "commitOid": made.oid, "pullRequestUrl": pull})


def resolve(server: HubServer, user: str | None, path: Mapping[str, str], query: Query, body: bytes) -> Answer:
    made = server.commit(server.find(path["id"], user), path["revision"])
    blob = made.tree.get(path["path"])
    if blob is None:
        raise Refusal(404, "Entry not found", "EntryNotFound")
    headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": made.oid, "Accept-Ranges": "bytes"}
    if blob.lfs:
        headers |= {"X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{blob.etag}"'}
    return Answer(200, blob.content, headers)


ID = r"(?P<id>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"  # refs/pr/1 comes quoted
ROUTES: tuple[tuple[str, str, str, Step], ...] = (
    ("create", "POST", r"/api/repos/create", create),
    ("validate-yaml", "POST", r"/api/validate-yaml", validate_yaml),
    ("info", "GET", rf"/api/datasets/{ID}", info),
    ("info", "GET", rf"/api/datasets/{ID}/revision/{REVISION}", info),
    ("branch", "POST", rf"/api/datasets/{ID}/branch/{REVISION}", branch),
    ("tree", "GET", rf"/api/datasets/{ID}/tree/{REVISION}(?:/(?P<path>.+))?", tree),
    ("paths-info", "POST", rf"/api/datasets/{ID}/paths-info/{REVISION}", paths_info),
    ("preupload", "POST", rf"/api/datasets/{ID}/preupload/{REVISION}", preupload),
    ("commit", "POST", rf"/api/datasets/{ID}/commit/{REVISION}", commit),
    ("lfs-batch", "POST", rf"/datasets/{ID}\.git/info/lfs/objects/batch", lfs_batch),
    ("lfs-verify", "POST", rf"/datasets/{ID}\.git/info/lfs/objects/verify", lfs_verify),
    ("lfs-put", "PUT", r"/storage/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("resolve", "GET", rf"/datasets/{ID}/resolve/{REVISION}/(?P<path>.+)", resolve),
    ("resolve", "HEAD", rf"/datasets/{ID}/resolve/{REVISION}/(?P<path>.+)", resolve),
)


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.read_body()
            url = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            for step, method, pattern, function in ROUTES:
                match = re.fullmatch(pattern, url.path)
                if match is None or method != self.command:
                    continue
                path = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                self.do(step, lambda: function(server, self.user(), path | {"url": url.path}, query, body))  # noqa: B023
                return
            self.send(Answer(404, b'{"error": "no such page"}'))

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - names of http.server

        def do(self, step: str, function: Callable[[], Answer]) -> None:
            with server.lock:
                server.steps.append(step)
            server.before(step)  # may itself push
            with server.lock:
                fault = server.fault(step)
                if fault is not None and fault.kind == DROP:
                    self.drop()
                elif fault is not None and isinstance(fault.kind, int):
                    page = {"Content-Type": "text/html"} | dict(fault.headers)
                    self.send(Answer(fault.kind, b"<html>it is not your fault</html>", page))
                else:
                    try:
                        answer = function()
                    except Refusal as refusal:
                        answer = refusal.answer
                    if fault is None:
                        self.send(answer)
                    else:
                        self.drop()

        def user(self) -> str | None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token and token not in server.users:
                raise Refusal(401, "Invalid credentials in Authorization header")
            return server.users[token][0] if token else None

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def send(self, answer: Answer) -> None:
            body, status, headers = answer.body, answer.status, dict(answer.headers)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted and status == 200:
                first, last = int(wanted[1]), min(int(wanted[2] or len(body)), len(body) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                body, status = body[first : last + 1], 206
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
