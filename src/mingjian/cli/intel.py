"""``mingjian intel``: indicators of others, kept in the workspace and looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError, NotFound, SchemaError, shown
from mingjian.formats.indicators.lists import Entry
from mingjian.formats.indicators.values import KIND_WORDS, word_for
from mingjian.model.blocks import Quarantined
from mingjian.model.indicators import (
    CONFIDENCE_MAX,
    MARKINGS,
    Assumed,
    Indicator,
    Marking,
    SkippedIndicator,
    marking_of,
)
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.store.indicators import Details, IndicatorSet
    from mingjian.store.scope import OrganisationId, Scope
    from mingjian.store.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Add indicators, and see which ones are looked for.")

ADD_COLUMNS = (
    *("name", "organisation", "version", "state", "indicators", "added", "gone"),
    *("warned", "skipped", "quarantined"),
)
LIST_COLUMNS = ("name", "organisation", "version", "indicators", "warned", "source", "marking", "added_at")
SHOW_COLUMNS = (
    *("kind", "how", "value", "verdict", "confidence", "valid_from", "valid_until", "marking", "warning"),
    *("source", "reference", "description"),
)
TABLE_COLUMNS = ("kind", "how", "value", "verdict", "warning", "description")
REASONS_SHOWN = 10
"""So many reasons for skipping are told."""
UNREAD_SHOWN = 5
"""So many entries that could not be read are told; ``--quarantine`` writes all of them to a file."""

_Format = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]
_Organisation = Annotated[
    str | None, typer.Option("--org", help="The organisation that the set is for; without it, all.")
]


@app.command()
def add(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files or folders; - is standard input.")],
    name: Annotated[str, typer.Option(help="Name of the set; the name of the file or folder if not given.")] = "",
    source: Annotated[str, typer.Option(help="Who says so, where the entries do not.")] = "",
    tlp: Annotated[str, typer.Option(help="The least marking: clear, green, amber, amber+strict, red.")] = "",
    confidence: Annotated[
        int | None, typer.Option(min=0, max=CONFIDENCE_MAX, help="Confidence of entries that state none.")
    ] = None,
    kind: Annotated[str, typer.Option(help="What the values are if it cannot be told: ja3, hostname, path …")] = "",
    organisation: _Organisation = None,
    quarantine: Annotated[Path | None, typer.Option(help="Write entries that cannot be read to this file.")] = None,
    how: _Format = None,
) -> Exit:
    """Add indicators: lists, CSV, STIX 2.1, MISP events and feeds.

    Each path becomes a set; with --name all of them become one. A set that is added again gets a new version, and what
    is in it no more is no longer looked for.
    """
    from mingjian.store.workspace import open_here

    assumed = Assumed(kind=_kind(kind), source=source, marking=_marking(tlp), confidence=confidence)
    groups = [(name, paths)] if name else [(_name_of(path), [path]) for path in paths]
    read = _Read()
    settings = context.ensure_object(Settings)
    with ExitStack() as stack:
        workspace = stack.enter_context(open_here(settings))
        adding = _Adding(workspace, settings.cache_folder, organisation, source, assumed.marking)
        read.file = stack.enter_context(quarantine.open("w", encoding="utf-8")) if quarantine else None
        rows: list[terminal.Row] = []
        for set_name, of_set in groups:
            read.start()
            rows.append(adding.add(set_name, read.wanted(of_set, assumed), read))
        terminal.write_rows(rows, ADD_COLUMNS, terminal.choose_format(how))
    read.tell(is_in_file=quarantine is not None)
    return Exit.QUARANTINED if read.quarantined else Exit.DONE


def _kind(text: str) -> str:
    if text and word_for(text) is None:
        known = sorted(word for word in KIND_WORDS if len(word) < 9 and word.isalnum())
        raise ConfigError(f"--kind is {shown(text)}", hint=f"it must be one of {', '.join(known)}")
    return text


def _marking(text: str) -> Marking:
    marking = marking_of(text) if text else ""
    if marking is None:
        raise ConfigError(f"--tlp is {shown(text)}", hint=f"it must be one of {', '.join(MARKINGS[1:])}")
    return marking


def _name_of(path: str) -> str:
    if path == "-":
        raise ConfigError("standard input has no name", hint="give one with --name")
    return Path(path).resolve().stem if Path(path).is_file() else Path(path).resolve().name


class _Read:
    """Takes what was read apart, and counts what is no indicator."""

    def __init__(self) -> None:
        self.file: TextIO | None = None
        self.quarantined = 0
        self.skipped: Counter[str] = Counter()
        self._first: list[Quarantined] = []
        self._of_set: tuple[int, Counter[str], list[Quarantined]] = (0, Counter(), [])

    def start(self) -> None:
        """A new set begins."""
        self._of_set = (self.quarantined, Counter(self.skipped), [])

    def wanted(self, paths: Iterable[str], assumed: Assumed) -> Iterator[Indicator]:
        """The indicators among all that paths hold."""
        from mingjian.sources.feeds import read_feed

        for path in paths:
            for entry in read_feed(path, assumed):
                if isinstance(entry, Indicator):
                    yield entry
                else:
                    self._take(entry)

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, SkippedIndicator):
            self.skipped[entry.reason] += 1
        elif isinstance(entry, Quarantined):
            from mingjian.store.indicators import UNREAD_MAX

            self.quarantined += 1
            if len(self._first) < UNREAD_SHOWN:
                self._first.append(entry)
            if len(self._of_set[2]) < UNREAD_MAX:
                self._of_set[2].append(entry)
            if self.file is not None:
                self.file.write(_quarantine_line(entry) + "\n")

    def details(self, lists: str) -> Details:
        """What is remembered with the set that was read last."""
        from mingjian.store.indicators import Details, Unread

        before, skipped, unread = self._of_set
        return Details(
            skipped=dict((self.skipped - skipped).most_common(100)),
            quarantined=self.quarantined - before,
            unread=[Unread(each.file, each.record, each.reason) for each in unread],
            lists=lists,
        )

    def tell(self, *, is_in_file: bool) -> None:
        """Say on stderr what was skipped and what could not be read."""
        for reason, count in self.skipped.most_common(REASONS_SHOWN):
            terminal.note(f"skipped: {count} × {reason}")
        if len(self.skipped) > REASONS_SHOWN:
            terminal.note(f"… and for {len(self.skipped) - REASONS_SHOWN} more reasons")
        for entry in self._first:
            terminal.note(f"quarantined: {entry.file}:{entry.record}: {entry.reason}")
        if self.quarantined > len(self._first) and not is_in_file:
            terminal.note(f"… and {self.quarantined - len(self._first)} more; --quarantine FILE writes all of them")


def _quarantine_line(entry: Quarantined) -> str:
    cells = {
        "file": entry.file,
        "record": entry.record,
        "offset": entry.offset,
        "code": entry.code,
        "reason": entry.reason,
        "data": entry.data.decode("utf-8", "backslashreplace"),
    }
    return terminal.json_line(cells, tuple(cells))


class _Adding:
    """Adds sets to a workspace."""

    def __init__(
        self, workspace: Workspace, cache_folder: Path, organisation: str | None, source: str, marking: Marking
    ) -> None:
        from mingjian.store.scope import Scope
        from mingjian.store.warninglists import WarningLists

        self._workspace = workspace
        self._scope = Scope.of_operator()
        self._organisation_name = organisation or ""
        self._organisation = _organisation_id(workspace, self._scope, organisation)
        self._source = source
        self._marking: Marking = marking
        self._lists = WarningLists(cache_folder=cache_folder)

    def add(self, name: str, indicators: Iterator[Indicator], read: _Read) -> terminal.Row:
        """Add one set and give its row."""
        from mingjian.store.indicators import add_set
        from mingjian.store.jobs import queue

        try:
            added = add_set(
                self._workspace,
                self._scope,
                name,
                indicators,
                organisation=self._organisation,
                source=self._source,
                marking=self._marking,
                details=lambda: read.details(self._lists.version),
                lists=self._lists,
            )
        except SchemaError as error:
            read.tell(is_in_file=False)
            raise SchemaError(error.what, where=error.where or name) from None
        if added.how != "unchanged":
            queue(
                self._workspace,
                self._scope,
                "indicators",
                organisation=self._organisation,
                indicator_set_id=added.set.id,
            )
        of_set = read.details("")
        is_same = added.how == "unchanged"
        return {
            "name": added.set.name,
            "organisation": self._organisation_name,
            "version": added.set.version,
            "state": added.how,
            "indicators": added.set.indicators,
            "added": 0 if is_same else added.set.added,
            "gone": 0 if is_same else added.set.gone,
            "warned": added.set.warned,
            "skipped": sum(of_set.skipped.values()),
            "quarantined": of_set.quarantined,
        }


def _organisation_id(workspace: Workspace, scope: Scope, name: str | None) -> OrganisationId | None:
    from mingjian.store.catalogue import organisation_named

    return None if name is None else organisation_named(workspace, scope, name).id


@app.command("list")
def list_sets(context: typer.Context, how: _Format = None) -> Exit:
    """List the sets that are looked for."""
    from mingjian.cli.detect import time_text
    from mingjian.store.catalogue import organisations
    from mingjian.store.indicators import live_sets
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.ensure_object(Settings)) as workspace:
        names = {each.id: each.name for each in organisations(workspace, scope)}
        rows = (
            {
                "name": each.name,
                "organisation": "" if each.organisation is None else names[each.organisation],
                "version": each.version,
                "indicators": each.indicators,
                "warned": each.warned,
                "source": each.source,
                "marking": each.marking,
                "added_at": time_text(each.added_us),
            }
            for each in live_sets(workspace, scope)
        )
        terminal.write_rows(rows, LIST_COLUMNS, terminal.choose_format(how))
    return Exit.DONE


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SET", help="Name of the set.")],
    organisation: _Organisation = None,
    how: _Format = None,
) -> Exit:
    """Show the indicators of a set, as it is now or was when it was removed."""
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        wanted = _set_named(workspace, name, organisation)
        chosen = terminal.choose_format(how)
        columns = TABLE_COLUMNS if chosen == "table" else SHOW_COLUMNS
        terminal.write_rows(_rows_of(workspace, Scope.of_operator(), wanted), columns, chosen)
        if wanted.state == "retired":
            terminal.note("this set was removed: it is not looked for")
    return Exit.DONE


def _rows_of(workspace: Workspace, scope: Scope, wanted: IndicatorSet) -> Iterator[terminal.Row]:
    from mingjian.cli.detect import time_text
    from mingjian.store.indicators import indicators_of

    for table in indicators_of(workspace, scope, wanted.id):
        for row in table.to_pylist():
            row["valid_from"] = time_text(row["valid_from_us"])
            row["valid_until"] = time_text(row["valid_until_us"])
            yield row


@app.command()
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SET", help="Name of the set.")],
    organisation: _Organisation = None,
) -> Exit:
    """Look for the indicators of a set no more. What they found stays, and so do they."""
    from mingjian.store.indicators import retire_set
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        wanted = _set_named(workspace, name, organisation)
        retired = retire_set(workspace, Scope.of_operator(), wanted.id)
        terminal.say(f"{retired.name}: {retired.indicators} indicators are not looked for any more")
    return Exit.DONE


def _set_named(workspace: Workspace, name: str, organisation: str | None) -> IndicatorSet:
    from mingjian.store.indicators import sets_named
    from mingjian.store.scope import Scope

    scope = Scope.of_operator()
    found = sets_named(workspace, scope, name)
    if organisation is not None:
        wanted = _organisation_id(workspace, scope, organisation)
        found = [each for each in found if each.organisation == wanted]
    if not found:
        raise NotFound(f"there is no set {shown(name)}", hint="mingjian intel list shows those that there are")
    if len(found) > 1 and found[0].organisation is not None:
        raise ConfigError(f"several organisations have a set {shown(name)}", hint="say which one with --org")
    return found[0]
