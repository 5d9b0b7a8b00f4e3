"""The mirror's metadata: repositories, trees, paths, references and users."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

from aiohttp import web

from mistudio_local.hub_mirror import answers
from mistudio_local.hub_mirror.access import RefusedError, not_found, require_content, require_visible, user_of
from mistudio_local.hub_mirror.repositories import DEFAULT_REVISION, RepoKind, Repositories, Repository, Snapshot

_REPO = "/api/{kind:models|datasets}/{owner}/{name}"
_FALSE = ("", "0", "false", "False")


class Metadata:
    """Handlers of the Hub's `/api/…` paths.

    Args:
        repositories: what is served.
        page_entries: most entries in one page of a tree.
    """

    def __init__(self, repositories: Repositories, page_entries: int) -> None:
        self._repositories = repositories
        self._page_entries = page_entries

    def routes(self) -> list[web.RouteDef]:
        """All paths with their handlers."""
        return [
            web.get("/api/whoami-v2", self.whoami),
            web.get(_REPO, self.repository),
            web.get(_REPO + "/revision/{revision}", self.repository),
            web.get(_REPO + "/tree/{revision}", self.tree),
            web.get(_REPO + "/tree/{revision}/{path:.*}", self.tree),
            web.post(_REPO + "/paths-info/{revision}", self.paths_info),
            web.get(_REPO + "/refs", self.refs),
            web.get(_REPO + "/auth-check", self.auth_check),
        ]

    async def whoami(self, request: web.Request) -> web.Response:
        """The owner of the request's token."""
        user = user_of(request, self._repositories)
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        return web.json_response(answers.user(user))

    async def repository(self, request: web.Request) -> web.Response:
        """One repository at one revision."""
        repository, snapshot = await find(request, self._repositories)
        with_blobs = request.query.get("blobs", "") not in _FALSE
        return web.json_response(answers.repository(repository, snapshot, with_blobs))

    async def tree(self, request: web.Request) -> web.Response:
        """A page of files and folders below a path."""
        _, snapshot = await find(request, self._repositories)
        recursive, expand = (request.query.get(flag, "") not in _FALSE for flag in ("recursive", "expand"))
        entries = _tree_entries(snapshot, request.match_info.get("path", ""), recursive, expand)
        start = int(request.query.get("cursor", 0))
        end = start + self._page_entries
        response = web.json_response(entries[start:end])
        if end < len(entries):
            following = request.url.update_query(cursor=str(end))
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    async def paths_info(self, request: web.Request) -> web.Response:
        """The asked paths that exist."""
        _, snapshot = await find(request, self._repositories)
        form = await request.post()
        expand = str(form.get("expand", "")) not in _FALSE
        entries = {str(entry["path"]): entry for entry in _tree_entries(snapshot, "", recursive=True, expand=expand)}
        asked = [str(path) for path in form.getall("paths", [])]
        return web.json_response([entries[path] for path in asked if path in entries])

    async def refs(self, request: web.Request) -> web.Response:
        """All branches and tags."""
        repository, _ = await find(request, self._repositories)
        return web.json_response(await asyncio.to_thread(answers.references, repository))

    async def auth_check(self, request: web.Request) -> web.Response:
        """Whether the files may be read; an empty object if so."""
        repository, _ = await find(request, self._repositories)
        require_content(repository, user_of(request, self._repositories))
        return web.json_response({})


async def find(request: web.Request, repositories: Repositories) -> tuple[Repository, Snapshot]:
    """The repository and the snapshot that a request's path names, for the user whose token it carries.

    Raises:
        RefusedError: there is none, or the user may not know of it.
    """
    user = user_of(request, repositories)
    repository = _repository(request, repositories)
    if repository is None:
        raise not_found(user)
    require_visible(repository, user)
    return repository, await _snapshot(request, repositories, repository)


async def find_signed(request: web.Request, repositories: Repositories) -> Snapshot:
    """The snapshot that a signed link names: whoever holds the link may read it.

    Raises:
        RefusedError: there is none.
    """
    repository = _repository(request, repositories)
    if repository is None:
        raise not_found(user=None)
    return await _snapshot(request, repositories, repository)


def _repository(request: web.Request, repositories: Repositories) -> Repository | None:
    path = request.match_info
    return repositories.find(RepoKind(path.get("kind", RepoKind.MODELS)), f"{path['owner']}/{path['name']}")


async def _snapshot(request: web.Request, repositories: Repositories, repository: Repository) -> Snapshot:
    revision = request.match_info.get("revision", DEFAULT_REVISION)
    snapshot = await asyncio.to_thread(repositories.snapshot, repository, revision)
    if snapshot is None:
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return snapshot


def _tree_entries(snapshot: Snapshot, below: str, recursive: bool, expand: bool) -> list[answers.Json]:
    base = PurePosixPath(below)
    files = [file for path, file in snapshot.files.items() if base in PurePosixPath(path).parents]
    if below and not files:
        raise RefusedError(404, f"{below} does not exist on this revision", "EntryNotFound")
    folders = {folder for file in files for folder in _folders_between(base, PurePosixPath(file.path))}
    if not recursive:
        files = [file for file in files if PurePosixPath(file.path).parent == base]
        folders = {folder for folder in folders if folder.parent == base}
    listed = [answers.tree_folder(folder.as_posix(), snapshot.commit, expand) for folder in sorted(folders)]
    return listed + [answers.tree_file(file, snapshot.commit, expand) for file in files]


def _folders_between(base: PurePosixPath, path: PurePosixPath) -> list[PurePosixPath]:
    return [folder for folder in path.parents if base in folder.parents]
