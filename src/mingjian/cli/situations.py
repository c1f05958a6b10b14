"""``mingjian situations``: which detections belong together, how much that matters, and what people decided."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.model.rules import Level
from mingjian.settings import Language, Settings

if TYPE_CHECKING:
    from mingjian.situations.showing import Emptied, Line, Situation
    from mingjian.situations.suppressing import Tried
    from mingjian.store.scope import Scope
    from mingjian.store.situations import StoredSituation
    from mingjian.store.workspace import Workspace

app = typer.Typer(add_completion=False, no_args_is_help=True)

COLUMNS: Final = (
    *("id", "organisation", "danger", "level", "state", "resolution", "title", "why", "detections", "hosts", "first"),
    *("last", "owner", "terms", "tactics"),
)
TABLE_COLUMNS: Final = ("danger", "level", "title", "first", "id")
SUPPRESSION_COLUMNS: Final = ("id", "state", "title", "rules", "owner", "reason", "created", "expires", "hidden")
MEMBERS_SHOWN: Final = 40
JOINS_SHOWN: Final = 12
DAYS: Final = 90
US_PER_DAY: Final = 86_400 * 1_000_000

IdArgument = Annotated[str, typer.Argument(metavar="SITUATION", help="Its id, as the list has it.")]
INCIDENT_COLUMNS = ("id", "title", "organisation", "state", "owner", "declared", "by", "situation")
LanguageOption = Annotated[Language | None, typer.Option(help="Language of titles and sentences.")]
FormatOption = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]


@contextmanager
def _opened(settings: Settings) -> Generator[tuple[Workspace, Scope]]:
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(settings) as workspace:
        yield workspace, Scope.of_operator()


def _bring_up_to_date(workspace: Workspace, settings: Settings) -> None:
    """Look into what was detected since the last time: the process beside an ingest may have ended before it did."""
    from mingjian.situations.keeping import Keeper
    from mingjian.sources.definitions import load_sources

    Keeper(workspace, load_sources(cache_folder=settings.cache_folder), settings.cache_folder).step()


@app.command("list")
def list_situations(
    context: typer.Context,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    state: Annotated[
        Literal["unclosed", "open", "in_work", "closed", "all", "emptied"],
        typer.Option(help="In which state; emptied: with nothing left in the queue."),
    ] = "unclosed",
    level: Annotated[Level, typer.Option(help="The lowest level.")] = "informational",
    text: Annotated[str | None, typer.Option(help="In a host, an account, the title of a rule.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what happened from this moment on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Only what happened before this moment.")] = None,
    times: Annotated[
        Literal["activity", "beginning", "closing"],
        typer.Option(help="What --since and --until are about: anything of it, its beginning, or its being closed."),
    ] = "activity",
    order: Annotated[
        Literal["danger", "last", "first", "detections"], typer.Option(help="What comes first.")
    ] = "danger",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    fail_on: Annotated[Level | None, typer.Option(help="Exit with 1 if one listed has this level or more.")] = None,
    language: LanguageOption = None,
    how: FormatOption = None,
) -> Exit:
    """List situations, the most dangerous first."""
    from mingjian.cli.detections import moment_of
    from mingjian.model.rules import LEVELS
    from mingjian.situations.showing import line_of
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.situations import SituationFilter, SituationState, situations

    settings = context.find_object(Settings) or Settings()
    states: dict[str, tuple[SituationState, ...]] = {"unclosed": ("open", "in_work"), "all": (), "emptied": ()}
    with _opened(settings) as (workspace, scope):
        _bring_up_to_date(workspace, settings)
        names = {each.id: each.name for each in organisations(workspace, scope)}
        wanted = SituationFilter(
            organisation=None if org is None else organisation_named(workspace, scope, org).id,
            states=states.get(state) if state in states else (state,),  # type: ignore[arg-type] # the others are states
            level=level,
            text=text,
            first_us=moment_of(since),
            until_us=moment_of(until),
            times=times,
            emptied=state == "emptied",
        )
        page = situations(workspace, scope, wanted, order=order, limit=limit)
        lines = [line_of(each, language or settings.language) for each in page.situations]
        chosen = terminal.choose_format(how)
        rows = (_row(line, names[line.stored.organisation]) for line in lines)
        terminal.write_rows(rows, TABLE_COLUMNS if chosen == "table" else COLUMNS, chosen)
    if page.after is not None:
        terminal.note(f"there are more than {limit}; --limit shows more of them")
    found = fail_on is not None and any(LEVELS.index(line.stored.level) >= LEVELS.index(fail_on) for line in lines)
    return Exit.FOUND if found else Exit.DONE


def _row(line: Line, organisation: str) -> dict[str, terminal.Cell]:
    from mingjian.cli.detect import time_text

    stored = line.stored
    return {
        "id": stored.public_id,
        "organisation": organisation,
        "danger": round(line.danger, 1),
        "level": stored.level,
        "state": stored.state,
        "resolution": stored.resolution,
        "title": line.title,
        "why": line.why,
        "detections": stored.detections,
        "hosts": stored.hosts,
        "first": time_text(stored.first_us),
        "last": time_text(stored.last_us),
        "owner": stored.owner,
        "terms": {term.name: str(term.value) for term in line.terms},
        "tactics": list(line.summary.tactics),
    }


@app.command()
def show(
    context: typer.Context,
    situation: IdArgument,
    how: Annotated[
        Literal["text", "json"] | None, typer.Option("--format", "-f", help="text on a terminal, json elsewhere.")
    ] = None,
    language: LanguageOption = None,
) -> Exit:
    """Show a situation: why it is one, what speaks against that, what happened when, who did what with it."""
    import sys

    import msgspec

    from mingjian.situations.showing import situation as everything

    settings = context.find_object(Settings) or Settings()
    chosen: Language = language or settings.language
    with _opened(settings) as (workspace, scope):
        found = everything(workspace, scope, situation, chosen)
    if (how or ("text" if sys.stdout.isatty() else "json")) == "json":
        terminal.write_rows([msgspec.to_builtins(found)], found.__struct_fields__, "jsonl")
    else:
        for line in _told(found, chosen):
            terminal.say(line)
    return Exit.DONE


def _told(found: Situation, language: Language) -> list[str]:
    from mingjian.cli.detect import time_text

    zh = language == "zh"
    lines = [found.title, found.why, ""]
    if found.emptied is not None:
        lines += _told_emptied(found.emptied, zh=zh)
    product = " × ".join(f"{term.label} {term.value:g}" for term in found.terms)
    lines.append(f"{'危险度' if zh else 'danger'} {found.danger:.1f} = {product}")
    lines += [f"    {term.label}: {term.says}" for term in found.terms]
    lines += ["", "时间线" if zh else "timeline"]
    for member in found.members[:MEMBERS_SHOWN]:
        one = member.detection.detection
        mark = " " if member.is_core else "·"
        lines.append(f"  {mark} {time_text(one.time_us)}  {one.level:13} {one.host:20} {one.rule_title}")
        lines.append(f"      {member.detection.public_id}  {one.file}:{one.record}")
    left = found.members_left_out + max(0, len(found.members) - MEMBERS_SHOWN)
    if left:
        lines.append(f"    … {left}" + (" 条未列出" if zh else " more"))
    lines += ["", "为何归为一起" if zh else "why they are together"]
    for join in found.joins[:JOINS_SHOWN]:
        apart = "" if join.distance_s is None else f", {join.distance_s} s"
        lines.append(f"    {join.reason} ({join.strength:g}{apart})")
        lines += [f"        {'反证' if zh else 'against'}: {each}" for each in join.against]
    lines += ["", "共有之物" if zh else "what they share"]
    lines += [f"    {each.kind} {each.value}  ({each.detections})" for each in found.entities[:JOINS_SHOWN]]
    if found.related:
        lines += ["", "相关事项" if zh else "related"]
        lines += [f"    {kin.situation.public_id}  {kin.title}" for kin in found.related]
    if found.history or found.comments:
        lines += ["", "经过" if zh else "history"]
        lines += [f"    {time_text(act.at_us)} {act.actor}: {act.kind}  {act.public_id}" for act in found.history]
        lines += [f"    {time_text(each.at_us)} {each.actor}: {each.text}" for each in found.comments]
    lines += [f"    [{'x' if task.done_us else ' '}] {task.text} {task.owner}" for task in found.tasks]
    return lines


def _told_emptied(emptied: Emptied, *, zh: bool) -> list[str]:
    """Why nothing of a situation is in the queue any more."""
    lines = ["该态势事项已不在待办队列中：" if zh else "nothing of it is in the queue any more:"]
    lines += [f"    {count} × {each.resolution} {each.actor} {each.reason}".rstrip() for each, count in emptied.judged]
    hides = "被抑制" if zh else "hidden by"
    lines += [f"    {count} {hides} {each.public_id} {each.title}" for each, count in emptied.hidden]
    if emptied.removed:
        lines.append(f"    {emptied.removed} " + ("个检出已随日志事件到期删除" if zh else "removed with their events"))
    return [*lines, ""]


def _changed(stored: StoredSituation) -> Exit:
    terminal.say(f"{stored.public_id}  {stored.state} {stored.resolution}".rstrip() + f"  {stored.detections}")
    return Exit.DONE


@app.command()
def split(
    context: typer.Context,
    situation: IdArgument,
    detections: Annotated[list[str], typer.Argument(metavar="DETECTION…", help="Ids of the detections to take out.")],
) -> Exit:
    """Take detections out of a situation: they are another one from now on, and stay so."""
    from mingjian.situations import deciding

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        return _changed(deciding.split(workspace, scope, situation, detections))


@app.command()
def merge(
    context: typer.Context,
    situation: IdArgument,
    others: Annotated[list[str], typer.Argument(metavar="OTHER…", help="Situations that belong to it.")],
) -> Exit:
    """Put situations together: they are one from now on, and stay so."""
    from mingjian.situations import deciding

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        return _changed(deciding.merge(workspace, scope, situation, others))


@app.command()
def undo(
    context: typer.Context, act: Annotated[str, typer.Argument(metavar="ACT", help="Its id, out of the history.")]
) -> Exit:
    """Take a split or a merge back."""
    from mingjian.situations import deciding

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        return _changed(deciding.undo(workspace, scope, act))


@app.command()
def judge(
    context: typer.Context,
    situation: IdArgument,
    verdict: Annotated[
        Literal["open", "in_work", "true_positive", "false_positive", "benign"],
        typer.Argument(help="The last three close it."),
    ],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    owner: Annotated[str | None, typer.Option(help="Whose it is from now on.")] = None,
) -> Exit:
    """Take a situation into work, close it with a verdict, or open it again."""
    from mingjian.store.decisions import set_owner, set_state

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        if owner is not None:
            set_owner(workspace, scope, situation, owner)
        if verdict == "open" or verdict == "in_work":
            return _changed(set_state(workspace, scope, situation, verdict, reason=reason))
        return _changed(set_state(workspace, scope, situation, "closed", verdict, reason=reason))


@app.command()
def comment(
    context: typer.Context, situation: IdArgument, text: Annotated[str, typer.Argument(help="What there is to say.")]
) -> Exit:
    """Write something about a situation."""
    from mingjian.store.decisions import add_comment

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        add_comment(workspace, scope, "situation", situation, text)
    return Exit.DONE


@app.command()
def declare(
    context: typer.Context,
    situation: IdArgument,
    title: Annotated[str, typer.Option(help="What it is called; if not given, as the situation.")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is.")] = "",
    language: LanguageOption = None,
) -> Exit:
    """Declare an incident from a situation."""
    from mingjian.situations.showing import line_of
    from mingjian.store import decisions
    from mingjian.store.situations import situation_by_id

    settings = context.find_object(Settings) or Settings()
    with _opened(settings) as (workspace, scope):
        stored = situation_by_id(workspace, scope, situation)
        title = title or line_of(stored, language or settings.language).title
        made = decisions.declare(workspace, scope, situation, title, owner=owner)
    terminal.say(f"{made.public_id}  {made.title}")
    return Exit.DONE


@app.command("incidents")
def list_incidents(
    context: typer.Context,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    since: Annotated[str | None, typer.Option(help="Declared, or about what happened, from this moment on.")] = None,
    until: Annotated[str | None, typer.Option(help="… and before this one (ISO 8601, UTC).")] = None,
    how: FormatOption = None,
) -> Exit:
    """List the incidents that were declared, the newest first."""
    from mingjian.cli.detect import time_text
    from mingjian.cli.detections import moment_of
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.decisions import incidents

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        wanted = None if org is None else organisation_named(workspace, scope, org).id
        names = {each.id: each.name for each in organisations(workspace, scope)}
        rows = [
            {
                "id": each.public_id,
                "title": each.title,
                "organisation": names[each.organisation],
                "state": each.state,
                "owner": each.owner,
                "declared": time_text(each.created_us),
                "by": each.actor,
                "situation": each.situation,
            }
            for each in incidents(workspace, scope, first_us=moment_of(since), until_us=moment_of(until))
            if wanted in (None, each.organisation)
        ]
    terminal.write_rows(rows, INCIDENT_COLUMNS, terminal.choose_format(how))
    return Exit.DONE


@app.command()
def draft(
    context: typer.Context,
    detection: Annotated[str, typer.Argument(metavar="DETECTION", help="Its id.")],
) -> Exit:
    """Write a Sigma filter that would hide a detection and those like it, to be looked over."""
    from mingjian.situations import suppressing
    from mingjian.store.detections import detection_by_id

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        text = suppressing.draft(workspace, scope, detection_by_id(workspace, scope, detection))
    for line in text.splitlines():
        terminal.say(line)
    return Exit.DONE


@app.command()
def suppress(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILTER.yml", help="A Sigma filter: `condition: not selection`.")],
    reason: Annotated[str, typer.Option(help="Why; without it the filter is only tried.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "operator",
    days: Annotated[int, typer.Option(min=1, max=366, help="It ends by itself after so many days.")] = DAYS,
    org: Annotated[str | None, typer.Option(help="Only in this organisation.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Hide what was found before as well.")] = False,
) -> Exit:
    """Try a suppression against history; with --reason, put it in force."""
    from mingjian.situations import suppressing
    from mingjian.sources.definitions import load_sources
    from mingjian.store.catalogue import organisation_named

    settings = context.find_object(Settings) or Settings()
    text = file.read_text(encoding="utf-8", errors="replace")
    with _opened(settings) as (workspace, scope):
        owned = None if org is None else organisation_named(workspace, scope, org).id
        about = suppressing.read_filter(workspace, scope, text)
        sources = load_sources(cache_folder=settings.cache_folder)
        tried = suppressing.try_out(workspace, scope, sources, about, owned)
        _say_tried(tried)
        if not reason:
            terminal.note("nothing is hidden yet: --reason puts it in force")
            return Exit.DONE
        made = suppressing.suppress(
            workspace,
            scope,
            text,
            owner=owner,
            reason=reason,
            expires_us=workspace.clock_us() + days * US_PER_DAY,
            organisation=owned,
            tried=tried if history else None,
        )
    terminal.say(made.public_id)
    return Exit.DONE


def _say_tried(tried: Tried) -> None:
    terminal.note(
        f"would have hidden {tried.detections} detections on {tried.hosts} hosts, "
        f"of {tried.looked_at} that its rules have found"
    )
    for title, count in tried.rules[:MEMBERS_SHOWN]:
        terminal.note(f"    {count:>8}  {title}")
    if tried.unread:
        terminal.note(f"of {tried.unread} the events are not kept any more: for them it is not known")


@app.command("suppressions")
def list_suppressions(context: typer.Context, how: FormatOption = None) -> Exit:
    """List suppressions, with how much each has hidden."""
    from mingjian.cli.detect import time_text
    from mingjian.store.suppressions import suppressions

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        rows = [
            {
                "id": each.public_id,
                "state": each.state,
                "title": each.title,
                "rules": list(each.filter.rules),
                "owner": each.owner,
                "reason": each.reason,
                "created": time_text(each.created_us),
                "expires": time_text(each.expires_us),
                "hidden": each.hidden,
            }
            for each in suppressions(workspace, scope)
        ]
    terminal.write_rows(rows, SUPPRESSION_COLUMNS, terminal.choose_format(how))
    return Exit.DONE


@app.command("end")
def end_suppression(
    context: typer.Context,
    suppression: Annotated[str, typer.Argument(metavar="SUPPRESSION", help="Its id.")],
    take_back: Annotated[bool, typer.Option("--take-back", help="Show what it has hidden as well.")] = False,
) -> Exit:
    """Let a suppression hide nothing any more."""
    from mingjian.situations import suppressing

    with _opened(context.find_object(Settings) or Settings()) as (workspace, scope):
        shown = suppressing.end(workspace, scope, suppression, take_back=take_back)
    terminal.say(f"{shown} detections are shown again")
    return Exit.DONE
