"""A small Hub on the loopback that speaks the routes which huggingface_hub uses, faults included.

Files of `*.safetensors` and `*.bin` are "LFS": they are answered by a redirect to a second address, another origin, as
the real Hub sends its clients to a CDN. Every request is recorded.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    status: int
    range: str | None
    token: str | None
    user_agent: str | None


@dataclass
class Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False


class HubServer:
    """Serves repositories that tests add.

    Attributes:
        url: what HF_ENDPOINT should be.
        requests: all requests so far, in order.
        token: the only token that opens gated and private repositories; `token_without_access` is valid but does not.
        failing: a status (503, 429, …) that every request gets while it is not None.
    """

    token = "hf_opensEverything"
    token_without_access = "hf_opensNothing"

    def __init__(self) -> None:
        self._servers = [_Server(("127.0.0.1", 0), _Handler) for _ in range(2)]
        for server in self._servers:
            server.hub = self
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        # Another name of the host, not only another port: clients differ in what they take for another origin.
        self.url, self.cdn_url = (
            f"http://{host}:{server.server_port}"
            for host, server in zip(("127.0.0.1", "localhost"), self._servers, strict=True)
        )
        self.reset()

    def reset(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.cuts: dict[str, tuple[int, bool]] = {}
        self.failing: int | None = None

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(
        self,
        repo_id: str,
        content: Mapping[str, bytes | str] | Path,
        *,
        branch: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Commit files, given as name → content or as a folder, and give the 40-hex commit."""
        if isinstance(content, Path):
            content = {p.relative_to(content).as_posix(): p.read_bytes() for p in content.rglob("*") if p.is_file()}
        files = {name: data.encode() if isinstance(data, str) else data for name, data in content.items()}
        repository = self.repositories.setdefault(repo_id, Repository())
        repository.gated, repository.private = gated, private
        digest = hashlib.sha1(repr((repo_id, len(repository.commits), sorted(files.items()))).encode())
        commit = digest.hexdigest()
        repository.commits[commit] = files
        repository.refs[branch] = commit
        self.blobs |= {hashlib.sha256(data).hexdigest(): data for name, data in files.items() if is_lfs(name)}
        return commit

    def cut_once(self, name: str, *, after: int) -> None:
        """Break the connection once, `after` bytes into the next download of the file `name`."""
        self.cuts[name] = (after, False)

    def cut_always(self, name: str, *, after: int) -> None:
        """Break every download of the file `name` after that many bytes."""
        self.cuts[name] = (after, True)

    def downloads(self) -> list[str]:
        """The names of the files of which content was asked for, sorted, each once."""
        asked = [urlsplit(one.path).path for one in self.requests if one.method == "GET" and "/resolve/" in one.path]
        heads = [one.path for one in self.requests if one.method == "HEAD"]
        return sorted({unquote(path.split("/resolve/")[1].split("/", 1)[1]) for path in asked + heads})


def is_lfs(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in LFS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: HubServer

    def handle_error(self, request, client_address) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Refusal(Exception):
    def __init__(self, status: int, code: str | None = None, message: str = "", **headers: str) -> None:
        self.status, self.headers = status, dict(headers)
        if code:
            self.headers["X-Error-Code"] = code
        if message:
            self.headers["X-Error-Message"] = message
        super().__init__(message or code)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if self.server.hub.failing is not None:
                raise _Refusal(self.server.hub.failing, message="out of order")
            if path.startswith("/lfs/"):
                self._send_blob(*path.removeprefix("/lfs/").split("/", 1))
            elif path.startswith("/api/models/"):
                self._api(urlsplit(self.path).path.removeprefix("/api/models/"))
            elif "/resolve/" in path:
                self._resolve(urlsplit(self.path).path)
            else:
                raise _Refusal(404, message="no such route")
        except _Refusal as refusal:
            self._send(refusal.status, json.dumps({"error": str(refusal)}).encode(), refusal.headers)

    def _api(self, path: str) -> None:
        for route in ("/revision/", "/tree/"):
            if route in path:
                repo_id, rest = path.split(route)
                break
        else:
            route, repo_id, rest = "/revision/", path, "main"
        revision, _, folder = rest.partition("/")
        commit, files = self._commit(repo_id, unquote(revision), metadata=True)
        if route == "/revision/":
            siblings = [{"rfilename": name} for name in files]
            answer: object = {"id": repo_id, "modelId": repo_id, "sha": commit, "siblings": siblings}
        else:
            answer = _tree(files, unquote(folder), recursive="recursive=true" in self.path.lower())
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        repo_id, rest = path.lstrip("/").split("/resolve/")
        revision, name = (unquote(part) for part in rest.split("/", 1))
        commit, files = self._commit(repo_id, revision, metadata=False)
        headers = {"X-Repo-Commit": commit}
        if name not in files:
            raise _Refusal(404, "EntryNotFound", f"{name} does not exist", **headers)
        data = files[name]
        if not is_lfs(name):
            self._send_content(name, data, {**headers, "ETag": f'"{_blob_id(data)}"'})
            return
        sha = hashlib.sha256(data).hexdigest()
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha}"'}
        headers |= {"Location": f"{self.server.hub.cdn_url}/lfs/{sha}/{name}"}
        self._send(302, b"", headers)

    def _commit(self, repo_id: str, revision: str, *, metadata: bool) -> tuple[str, dict[str, bytes]]:
        """The files at a revision, for whoever may see them; a gated repository shows its metadata to everyone."""
        hub, token = self.server.hub, self._token()
        if token not in (None, hub.token, hub.token_without_access):
            raise _Refusal(401, message="Invalid credentials in Authorization header")
        repository = hub.repositories.get(repo_id)
        if repository is None or (repository.private and token != hub.token):
            raise _Refusal(401 if token is None else 404, "RepoNotFound", "Repository not found")
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if repository.gated and not metadata and token != hub.token:
            raise _Refusal(401 if token is None else 403, "GatedRepo", "Access to this model is restricted")
        return commit, repository.commits[commit]

    def _send_blob(self, sha: str, name: str) -> None:
        self._send_content(name, self.server.hub.blobs[sha], {"ETag": f'"{sha}"'})

    def _send_content(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        start, total, status = 0, len(data), 200
        if asked := self.headers.get("Range"):
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        cut, always = self.server.hub.cuts.get(name, (None, True)) if self.command == "GET" else (None, True)
        if not always:
            del self.server.hub.cuts[name]
        self._send(status, data[start:], {**headers, "Accept-Ranges": "bytes"}, cut=cut)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: int | None = None) -> None:
        record = Request(
            self.command, self.path, status, self.headers.get("Range"), self._token(), self.headers.get("User-Agent")
        )
        self.server.hub.requests.append(record)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None


def _tree(files: Mapping[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, object]]:
    entries: dict[str, dict[str, object]] = {}
    prefix = f"{folder}/" if folder else ""
    for name, data in files.items():
        if not name.startswith(prefix):
            continue
        parts = name.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            path = prefix + "/".join(parts[:depth])
            entries[path] = {"type": "directory", "oid": _blob_id(path.encode()), "size": 0, "path": path}
        if len(parts) == 1 or recursive:
            entries[name] = {"type": "file", "oid": _blob_id(data), "size": len(data), "path": name}
            if is_lfs(name):
                sha = hashlib.sha256(data).hexdigest()
                entries[name]["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
    return list(entries.values())


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
