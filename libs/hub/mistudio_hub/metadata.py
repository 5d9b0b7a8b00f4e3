"""What the Hub knows of a repository: its commit, its files, and the content of small ones, without downloading it.

Ids, headers and rate limits are the library's (`huggingface_hub`) to make and read. The HTTP session is ours, because
the library's waits without limit: for an answer, and for however long a `Retry-After` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_hub.failures import Subject, from_status, revision_not_found, token_invalid, unavailable
from mistudio_hub.repository import (
    DEFAULT_ENDPOINT,
    DEFAULT_REVISION,
    RepoFile,
    RepoInfo,
    RepoSource,
    RepoType,
    require_repo_id,
)
from mistudio_servicekit.errors import MalformedFile, RepoGated

SMALL_FILE_BYTES = 16 * 1024 * 1024

# A pebibyte: no file has it, and any number of them can be added up.
_MOST_FILE_BYTES = 2**50

_STEPS = (".", "..")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = re.compile(r"[!-~]+")


class HubClient:
    """Asks one endpoint, with one token or none; safe to use from several threads.

    Only the given token is ever sent: one that is stored on the machine or set in its environment is not looked for.

    Args:
        endpoint: address of the Hub or of a mirror.
        token: the caller's token, or None.
        timeout_seconds: longest wait for the endpoint to connect, and between two pieces of an answer.

    Raises:
        HubTokenInvalid: the token holds characters that no token has.
    """

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, token: str | None = None, timeout_seconds: float = 10) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token or None
        if self._token is not None and not _TOKEN.fullmatch(self._token):
            raise token_invalid(self._endpoint)
        headers = build_hf_headers(token=self._token or False, library_name="mistudio")
        headers["Accept-Encoding"] = "identity"
        self._http = httpx2.Client(headers=headers, timeout=timeout_seconds, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def repo_info(self, repo_type: RepoType, repo_id: str, revision: str = DEFAULT_REVISION) -> RepoInfo:
        """The repository at the commit that `revision` (branch, tag or commit) names now.

        Raises:
            InvalidArgument: `repo_id` is malformed; nothing was asked.
            RepoNotFound, RevisionNotFound, HubTokenInvalid, HubUnavailable, HubRateLimited: the Hub's answer.
        """
        require_repo_id(repo_id)
        subject = self._subject(repo_type, repo_id, revision)
        if revision in _STEPS or not revision.isprintable():
            raise revision_not_found(subject)  # in an address it would mean something else
        url = f"/api/{repo_type}s/{repo_id}/revision/{quote(revision, safe='')}"
        with self._get(url, subject) as answer, _understood(subject):
            return _repo_info(repo_type, json.loads(answer.read()))

    def tree(self, repo: RepoInfo) -> list[RepoFile]:
        """All files of `repo`, with exact sizes and checksums, in the Hub's order."""
        subject = self._subject_of(repo)
        tree = f"/api/{repo.repo_type}s/{repo.repo_id}/tree/{repo.commit}"
        query = "recursive=true"
        files: list[RepoFile] = []
        while query:
            with self._get(f"{tree}?{query}", subject) as answer:
                with _understood(subject):
                    files += [_repo_file(entry) for entry in json.loads(answer.read()) if entry["type"] == "file"]
                # Only the query: behind a proxy the Hub does not know by which address it was asked.
                query = urlsplit(answer.links.get("next", {}).get("url", "")).query
        return files

    def require_access(self, repo: RepoInfo) -> None:
        """Raise `RepoGated` unless the token may read the files of `repo`, which its metadata does not tell."""
        if not repo.gated:
            return
        with self._get(f"/api/{repo.repo_type}s/{repo.repo_id}/auth-check", self._subject_of(repo)):
            return

    def visible_files(self, repo: RepoInfo) -> tuple[tuple[RepoFile, ...], RepoGated | None]:
        """All files of `repo`, as far as the Hub shows them, and why they may not be read: None where they may."""
        try:
            self.require_access(repo)
        except RepoGated as problem:
            try:
                return tuple(self.tree(repo)), problem
            except RepoGated:
                return (), problem
        return tuple(self.tree(repo)), None

    def read_small_file(self, repo: RepoInfo, path: str, limit_bytes: int = SMALL_FILE_BYTES) -> bytes:
        """The content of a file such as `config.json` or `README.md`.

        Raises:
            EntryNotFound: there is no such file.
            MalformedFile: it is larger than `limit_bytes`.
        """
        subject = self._subject_of(repo, path)
        with self._get(self.source(repo).url(path), subject) as answer:
            content = _read_at_most(answer, limit_bytes + 1)
        if len(content) > limit_bytes:
            raise MalformedFile(
                f"{path!r} of the {subject.repo} is larger than {limit_bytes:,} bytes",
                next_step="Choose a repository whose description files are of the usual size",
                metadata={"path": path},
            )
        return content

    def read_range(self, repo: RepoInfo, path: str, start: int, length: int) -> bytes:
        """The bytes `start` to `start + length` of a file, fewer where the file ends.

        For headers of weight files and footers of data files.

        Raises:
            HubUnavailable: the Hub would send all of a large file up to there.
        """
        subject = self._subject_of(repo, path)
        span = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._get(self.source(repo).url(path), subject, span) as answer:
            if answer.status_code == httpx2.codes.PARTIAL_CONTENT:
                return _read_at_most(answer, length)
            if start > SMALL_FILE_BYTES:
                raise unavailable(subject, "ignores byte ranges, which large files need")
            return _read_at_most(answer, start + length)[start:]

    def source(self, repo: RepoInfo) -> RepoSource:
        """Where `transfer.download` fetches the files of `repo` from."""
        return RepoSource(self._endpoint, repo, self._token)

    def _subject(self, repo_type: RepoType, repo_id: str, revision: str, path: str = "") -> Subject:
        return Subject(self._endpoint, repo_type, repo_id, revision, path, has_token=self._token is not None)

    def _subject_of(self, repo: RepoInfo, path: str = "") -> Subject:
        return self._subject(repo.repo_type, repo.repo_id, repo.commit, path)

    @contextmanager
    def _get(self, url: str, subject: Subject, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """The answer to a GET of `url` (absolute, or a path at the endpoint), its body still to be read."""
        absolute = f"{self._endpoint}{url}" if url.startswith("/") else url
        try:
            with self._http.stream("GET", absolute, headers=headers) as answer:
                if answer.is_error:
                    raise from_status(answer.status_code, answer.headers, subject)
                yield answer
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # Not chained: the library's exceptions hold the request with its headers.
            raise unavailable(subject, f"cannot be reached ({type(error).__name__})") from None


def _repo_info(repo_type: RepoType, values: Mapping[str, Any]) -> RepoInfo:
    require_repo_id(values["id"])
    if not _COMMIT.fullmatch(values["sha"]):
        raise ValueError("a commit's id is none")
    return RepoInfo(
        repo_type=repo_type,
        repo_id=values["id"],
        commit=values["sha"],
        gated=values.get("gated") or "",
        private=bool(values.get("private")),
        tags=tuple(values.get("tags") or ()),
    )


def _repo_file(entry: Mapping[str, Any]) -> RepoFile:
    """The file of a tree's entry.

    Raises:
        ValueError, KeyError, TypeError: no Hub gives such an entry.
    """
    path, size, large = entry["path"], entry["size"], entry.get("lfs")
    if type(size) is not int or not 0 <= size <= _MOST_FILE_BYTES or not path.encode():
        raise ValueError("a file has no path, or no size")
    return RepoFile(path, size, str(entry["oid"]), str(large["oid"]) if large else None)


@contextmanager
def _understood(subject: Subject) -> Iterator[None]:
    """Turns an answer of unexpected shape, as a captive portal gives, into `HubUnavailable`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unavailable(subject, "does not answer as a Hub does") from error


def _read_at_most(answer: httpx2.Response, limit_bytes: int) -> bytes:
    content = bytearray()
    for chunk in answer.iter_raw():
        content += chunk
        if len(content) >= limit_bytes:
            break
    return bytes(content[:limit_bytes])
