"""What the mirror answers: the Hub's JSON shapes."""

from __future__ import annotations

from mistudio_local.hub_mirror.repositories import DEFAULT_REVISION, MirrorFile, Repository, Snapshot

Json = dict[str, object]

# The Hub dates everything; a mirror has no history, so every commit has the same date.
_DATE = "2024-01-01T00:00:00.000Z"


def repository(repository: Repository, snapshot: Snapshot, with_blobs: bool) -> Json:
    """A repository as `GET /api/{kind}/{id}` describes it; `with_blobs` adds sizes and checksums of its files."""
    owner = repository.repo_id.split("/")[0]
    return {
        "_id": snapshot.commit[:24],
        "id": repository.repo_id,
        "author": owner,
        "sha": snapshot.commit,
        "lastModified": _DATE,
        "createdAt": _DATE,
        "private": repository.settings.private,
        "gated": repository.settings.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [_sibling(file, with_blobs) for file in snapshot.files.values()],
    }


def _sibling(file: MirrorFile, with_blobs: bool) -> Json:
    sibling: Json = {"rfilename": file.path}
    if with_blobs:
        sibling |= {"size": file.size, "blobId": file.oid}
        if file.large:
            pointer_size = len(file.pointer)
            sibling["lfs"] = {"sha256": file.digests.sha256, "size": file.size, "pointerSize": pointer_size}
    return sibling


def tree_file(file: MirrorFile, commit: str, expand: bool) -> Json:
    """A file as the tree lists it."""
    entry: Json = {"type": "file", "oid": file.oid, "size": file.size, "path": file.path}
    if file.large:
        entry["lfs"] = {"oid": file.digests.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry | _last_commit(commit) if expand else entry


def tree_folder(path: str, commit: str, expand: bool) -> Json:
    """A folder as the tree lists it."""
    entry: Json = {"type": "directory", "oid": commit, "size": 0, "path": path}
    return entry | _last_commit(commit) if expand else entry


def _last_commit(commit: str) -> Json:
    return {"lastCommit": {"id": commit, "title": "Mirrored", "date": _DATE}}


def references(repository: Repository) -> Json:
    """All branches and tags, as `GET …/refs` lists them."""
    branches: list[Json] = []
    tags: list[Json] = []
    for name, snapshot in repository.revisions().items():
        tag = name != DEFAULT_REVISION and name in repository.settings.tags
        ref = f"refs/{'tags' if tag else 'heads'}/{name}"
        reference: Json = {"name": name, "ref": ref, "targetCommit": snapshot.commit}
        (tags if tag else branches).append(reference)
    return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}


def user(name: str) -> Json:
    """A token's owner, as `GET /api/whoami-v2` tells it."""
    return {"type": "user", "id": name, "name": name, "fullname": name, "isPro": False, "orgs": []}
