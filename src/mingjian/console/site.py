"""What every request stands on: the workspace, who asks, in which language; and how a page is made of a template.

A view is a plain function from a ``Visit`` to a response. It runs in a thread, may block, reads and writes only with
``visit.scope``, and lets errors of ours through: ``console.answers`` turns them into pages.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, quote_plus, urlencode

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mingjian.console import assets, shapes
from mingjian.console.blindness import blind_count
from mingjian.console.pace import Pace
from mingjian.console.page import environment
from mingjian.console.texts import Texts, load_texts
from mingjian.errors import NotFound, StorageError
from mingjian.hunt.reasons import in_words
from mingjian.hunt.views import Views
from mingjian.settings import Language, Settings
from mingjian.situations.reading import KeptReads
from mingjian.sources.definitions import SourceBook
from mingjian.store import audit
from mingjian.store.catalogue import Organisation, organisations
from mingjian.store.inflow import last_received_us
from mingjian.store.newest import Newest
from mingjian.store.scope import OrganisationId, Right, Scope
from mingjian.store.sightings.live import KeptIndex
from mingjian.store.totals import Totals
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Counters, logger, with_fields

LANGUAGE_COOKIE: Final = "mingjian-language"
THEME_COOKIE: Final = "mingjian-theme"
THEMES: Final = ("auto", "light", "dark")
LATE_FACTOR: Final = 12
"""So many times as old as wanted may an answer be that is given while a new one is found out."""
REMEMBERED_MAX: Final = 512
"""So many answers of ``Memory`` are kept; beyond that, the one that was asked for longest ago is forgotten."""

QUOTED_MAX: Final = 4096
"""So many texts are kept as they stand in addresses."""

T = TypeVar("T")
_log = logger("console")


@lru_cache(maxsize=QUOTED_MAX)
def _quoted(text: str) -> str:
    """A text as a part of an address: a page has some hundreds of addresses, made of few texts."""
    return quote_plus(text)


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in front of it."""

    name: str
    scope: Scope
    language: Language = "en"
    session: object = None
    """What the accounts know it by."""


class Gate(Protocol):
    """Says who asks. Blocking."""

    def visitor(self, request: Request) -> Visitor:
        """Give the one who asks. Raises: NotAuthenticated."""
        ...


class Memory:
    """Answers that may be a little old, each computed by one thread at a time."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._kept: dict[tuple[object, ...], tuple[float, object]] = {}
        self._locks: OrderedDict[tuple[object, ...], threading.Lock] = OrderedDict()
        self._mutex = threading.Lock()
        self._renewing: set[tuple[object, ...]] = set()

    def recall_lately(self, key: tuple[object, ...], age_s_max: float, compute: Callable[[], T]) -> T:
        """As ``recall``, but nobody waits for what is only a little too old: it is found out anew meanwhile."""
        with self._mutex:
            kept = self._kept.get(key)
            age_s = self._clock_s() - kept[0] if kept is not None else 0.0
            is_late = kept is not None and age_s_max < age_s <= age_s_max * LATE_FACTOR
            must_renew = is_late and key not in self._renewing
            if must_renew:
                self._renewing.add(key)
        if kept is None or not is_late:
            return self.recall(key, age_s_max, compute)

        def renew() -> None:
            try:
                self.recall(key, age_s_max, compute)
            except (StorageError, NotFound) as error:
                _log.warning("an answer cannot be found out anew", extra=with_fields(error=str(error)))
            finally:
                with self._mutex:
                    self._renewing.discard(key)

        if must_renew:
            threading.Thread(target=renew, name="renewing", daemon=True).start()
        return kept[1]  # type: ignore[return-value]  # the key says what was computed

    def recall(self, key: tuple[object, ...], age_s_max: float, compute: Callable[[], T]) -> T:
        """Give what was computed under a key at most so long ago, or compute it. The key names whose data it is."""
        with self._mutex:
            lock = self._locks.setdefault(key, threading.Lock())
            self._locks.move_to_end(key)
            while len(self._locks) > REMEMBERED_MAX:
                forgotten, _ = self._locks.popitem(last=False)
                self._kept.pop(forgotten, None)
        with lock:
            kept = self._kept.get(key)
            if kept is not None and self._clock_s() - kept[0] <= age_s_max:
                return kept[1]  # type: ignore[return-value]  # the key says what was computed
            made = compute()
            with self._mutex:
                if self._locks.get(key) is lock:
                    self._kept[key] = (self._clock_s(), made)
            return made


class Site:
    """Everything that the requests of one process share."""

    def __init__(self, workspace: Workspace, settings: Settings, sources: SourceBook, gate: Gate) -> None:
        self.workspace = workspace
        self.settings = settings
        self.sources = sources
        self.views = Views(sources)
        self.index = KeptIndex(workspace)
        self.reads = KeptReads()
        self.gate = gate
        self.memory = Memory()
        self.counters = Counters()
        self.totals = Totals(workspace)
        self.newest = Newest(workspace)
        self.pace = Pace(settings)
        self.started_at_s = time.time()

    def tidy(self) -> None:
        """Let go of what is kept in memory from one question to the next when nobody has asked for a while."""
        self.index.tidy()
        self.reads.tidy()

    @property
    def cache_folder(self) -> Path:
        """Where what was compiled is kept."""
        return self.settings.cache_folder


class Place(NamedTuple):
    """An entry of the rail."""

    name: str
    path: str
    key: str
    """With ``g`` before it, the keyboard goes there."""
    right: Right
    within: str = ""
    """It is a part of this one, and shown only to whom that one is not."""


RAIL: Final = (
    Place("picture", "/", "p", "read"),
    Place("queue", "/queue", "q", "read"),
    Place("hunt", "/hunt", "h", "read"),
    Place("rules", "/rules", "r", "read"),
    Place("sources", "/sources", "s", "read"),
    Place("admin", "/admin", "a", "administer"),
    Place("audit", "/admin/audit", "a", "audit", within="admin"),
)
"""The pages that are always in view."""


class Visit:
    """One request: who asks for what, and how the answer is made."""

    def __init__(self, site: Site, request: Request, visitor: Visitor | None, form: FormData | None = None) -> None:
        self.site = site
        self.request = request
        self._visitor = visitor
        self.form = form or FormData()
        self.workspace = site.workspace
        self.now_us = site.workspace.clock_us()
        self.language: Language = self._language()
        self.texts: Texts = load_texts(self.language)
        self.is_unchosen = False
        """The organisation that the address names is not looked at: there is none, and that is to be said."""

    @property
    def visitor(self) -> Visitor:
        """Who asks; views that somebody else may see do not look."""
        assert self._visitor is not None, "a view for nobody in particular asked who it is"
        return self._visitor

    @property
    def scope(self) -> Scope:
        """What the one who asks may see and change."""
        return self.visitor.scope

    @property
    def is_partial(self) -> bool:
        """Whether only a part of a page is wanted."""
        return self.request.headers.get("hx-request") == "true"

    def _language(self) -> Language:
        chosen = self.request.query_params.get("lang") or self.request.cookies.get(LANGUAGE_COOKIE, "")
        if chosen in ("en", "zh"):
            return "zh" if chosen == "zh" else "en"
        if self._visitor is not None:
            return self._visitor.language
        return "zh" if self.request.headers.get("accept-language", "").lower().startswith("zh") else "en"

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.request.query_params.get(name, default)

    def given(self, name: str, default: str = "") -> str:
        """A field of a form, as text."""
        value = self.form.get(name, default)
        return value if isinstance(value, str) else default

    def given_all(self, name: str) -> list[str]:
        """All values of a field of a form."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]

    # --- whose data

    def organisations(self) -> Sequence[Organisation]:
        """The organisations that may be seen."""
        scope = self.scope
        return self.remember("organisations", 5.0, lambda: organisations(self.workspace, scope))

    def names(self) -> Mapping[OrganisationId, str]:
        """Organisation → its name."""
        return {each.id: each.name for each in self.organisations()}

    def chosen(self) -> str:
        """The organisation that the address names; empty for all."""
        return "" if self.is_unchosen else self.asked("org")

    def organisation(self) -> OrganisationId | None:
        """The organisation that is chosen in the scope selector; None for all. Raises: NotFound."""
        chosen = self.chosen()
        if not chosen:
            return None
        for each in self.organisations():
            if each.public_id == chosen:
                return each.id
        raise NotFound("there is no such organisation")

    def remember(self, name: str, age_s_max: float, compute: Callable[[], T], *more: object) -> T:
        """What may be a little old, and is the same for everybody who may see the same."""
        return self.site.memory.recall((name, self.scope.readable(), *more), age_s_max, compute)

    def lately(self, name: str, age_s_max: float, compute: Callable[[], T], *more: object) -> T:
        """As ``remember``, for what takes long: a little later than wanted, but at once."""
        return self.site.memory.recall_lately((name, self.scope.readable(), *more), age_s_max, compute)

    # --- addresses

    def address(self, path: str, /, **parameters: str | int | None) -> str:
        """An address of ours; the scope that was chosen stays."""
        kept = {"org": self.chosen()} | {name: "" if v is None else str(v) for name, v in parameters.items()}
        query = "&".join(f"{name}={_quoted(value)}" for name, value in kept.items() if value)
        return quote(path) + (f"?{query}" if query else "")

    def here(self, **parameters: str | int | None) -> str:
        """This address with some parameters changed; None takes one away."""
        kept: list[tuple[str, str]] = [
            (name, value)
            for name, value in self.request.query_params.multi_items()
            if name not in parameters and name not in ("part", "done", "undo")
        ]
        kept += [(name, str(value)) for name, value in parameters.items() if value not in (None, "")]
        return quote(self.request.url.path) + (f"?{urlencode(kept)}" if kept else "")

    # --- answers

    def page(self, template: str, /, status: int = 200, **context: object) -> Response:
        """Make a page of a template in ``templates/pages``."""
        return HTMLResponse(self.render(template, **context), status)

    def render(self, template: str, /, **context: object) -> str:
        """Fill in a template."""
        everywhere: dict[str, object] = {
            "visit": self,
            "t": self.texts,
            "language": self.language,
            "theme": self._theme(),
            "assets": assets.known(),
            "rail": self._rail(),
            "shapes": shapes,
            "now_us": self.now_us,
            "number": shapes.number,
            "in_words": in_words,
        }
        return environment().get_template(f"pages/{template}").render(everywhere | context)

    def _rail(self) -> list[Place]:
        shown = [place for place in RAIL if self._may(place.right)]
        names = {place.name for place in shown}
        return [place for place in shown if place.within not in names]

    def redirect(self, path: str, /, **parameters: str | int | None) -> Response:
        """Send on to another address, after something was done."""
        return RedirectResponse(self.address(path, **parameters), 303)

    def moved(self, path: str, /) -> Response:
        """Send on to where what was asked for is now: the same question, in the same language."""
        query = self.request.url.query
        return RedirectResponse(quote(path) + (f"?{query}" if query else ""), 303)

    def _theme(self) -> str:
        theme = self.request.cookies.get(THEME_COOKIE, "auto")
        return theme if theme in THEMES else "auto"

    @property
    def is_known(self) -> bool:
        """Whether it is known who asks."""
        return self._visitor is not None

    def _may(self, right: Right) -> bool:
        if self._visitor is None:
            return False
        return may(self._visitor.scope, right)

    def may(self, right: Right) -> bool:
        """Whether whoever asks may do this somewhere."""
        return self._may(right)

    def act(self, what: str, *, about: str = "", after: Mapping[str, str] | None = None) -> None:
        """Log something that changes nothing in the store; what does is logged there, in the same transaction."""
        with self.workspace.begin() as connection:
            audit.act(self.workspace, connection, self.scope, what, about=about, after=after)

    def blind_spots(self) -> int | None:
        """How many holes there are in what can be seen; None while that is being found out."""
        return blind_count(self)

    def received_s(self) -> int | None:
        """How many seconds ago events came in last."""
        organisation, scope = self.organisation(), self.scope
        last = self.remember(
            "received", 5.0, lambda: last_received_us(self.workspace, scope, organisation), organisation
        )
        return None if last is None else max(0, (self.now_us - last) // 1_000_000)


def may(scope: Scope, right: Right) -> bool:
    """Whether a scope may do something at all, somewhere."""
    reach = {"read": scope.reads, "write": scope.writes, "administer": scope.administers, "audit": scope.audits}[right]
    return bool(reach)
