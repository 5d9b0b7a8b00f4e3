"""Who may see what: tokens, private and gated repositories, and the errors the Hub answers with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from mistudio_local.hub_mirror.repositories import Repositories, Repository


class RefusedError(Exception):
    """A request is answered with an error, in the Hub's headers and JSON body.

    Args:
        status: HTTP status.
        message: text for a person.
        code: the Hub's `X-Error-Code`, or empty where it sends none.
        headers: further headers.
    """

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The answer to send."""
        codes = {"X-Error-Code": self.code} if self.code else {}
        headers = {"X-Error-Message": self.message, **codes, **self.headers}
        return web.json_response({"error": self.message}, status=self.status, headers=headers)


def user_of(request: web.Request, repositories: Repositories) -> str | None:
    """The name of the user whose token the request carries; None without a token.

    Raises:
        RefusedError: the mirror does not know the token.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return None
    name = repositories.users().get(token) if scheme == "Bearer" else None
    if name is None:
        raise RefusedError(401, "Invalid credentials in Authorization header")
    return name


def not_found(user: str | None) -> RefusedError:
    """The error for a repository that does not exist, or that this user may not know of."""
    if user is None:
        return RefusedError(401, "Invalid username or password.", "RepoNotFound")
    return RefusedError(404, "Repository not found", "RepoNotFound")


def require_visible(repository: Repository, user: str | None) -> None:
    """Raise `RefusedError` where `user` may not know of a private repository."""
    if repository.settings.private and user not in repository.settings.readers:
        raise not_found(user)


def require_content(repository: Repository, user: str | None) -> None:
    """Raise `RefusedError` where `user` may not read the files of a gated repository."""
    if not repository.settings.gated or user in repository.settings.readers:
        return
    name = repository.repo_id
    if user is None:
        raise RefusedError(401, f"Access to {name} is restricted. You must be authenticated to access it.", "GatedRepo")
    raise RefusedError(403, f"Access to {name} is restricted and you are not in the authorized list.", "GatedRepo")
