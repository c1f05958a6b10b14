"""Who asks: the session of a browser, or the token of a program."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from mingjian.console.site import Visitor
from mingjian.errors import NotAuthenticated
from mingjian.store.apitokens import scope_of_token
from mingjian.store.sessions import session_of
from mingjian.store.workspace import Workspace

SECURE_COOKIE: Final = "__Host-mingjian"
PLAIN_COOKIE: Final = "mingjian"
"""Over plain HTTP, which is for the loopback interface."""
BEARER: Final = "Bearer "


def cookie_name(request: Request) -> str:
    """The cookie that holds the session."""
    return SECURE_COOKIE if request.url.scheme == "https" else PLAIN_COOKIE


class AccountGate:
    """Asks the accounts of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def visitor(self, request: Request) -> Visitor:
        """Give the one who asks.

        Raises:
            NotAuthenticated: nobody in particular, or the session has ended.
            TooManyRequests: the session or the token sends too many.
        """
        authorization = request.headers.get("authorization", "")
        if authorization.startswith(BEARER):
            scope = scope_of_token(self._workspace, authorization.removeprefix(BEARER).strip())
            _count(request, scope.via)
            return Visitor(name=scope.actor, scope=scope)
        token = request.cookies.get(cookie_name(request), "")
        if not token:
            raise NotAuthenticated("nobody is signed in")
        session = session_of(self._workspace, token)
        user = session.user
        _count(request, session.scope.via)
        return Visitor(name=user.title or user.name, scope=session.scope, language=user.language, session=session)


def _count(request: Request, via: str) -> None:
    """Count a request of a session or a token, once: its page of an error asks again who it is."""
    if not getattr(request.state, "is_counted", False):
        request.state.is_counted = True
        request.app.state.site.pace.check("account", via)
