"""The report of a detection run: one HTML file that needs nothing else and opens from disk.

The page shows text that adversaries wrote; ``page`` keeps it text.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TextIO

import msgspec

from mingjian.console import overview, wording
from mingjian.console.evidence import Chosen, choose, quotas, rows_of
from mingjian.console.page import boxed, environment, outside, part, policy, write
from mingjian.console.tally import NAMES_MAX, Sums, add_up, name_of
from mingjian.console.timeline import PLOT_HEIGHT_PX, lay_out
from mingjian.console.wording import WORDS
from mingjian.hunt.attack import load_attack
from mingjian.hunt.detection import Summary
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.settings import Language


class _FirstRows(msgspec.Struct, frozen=True):
    """Where the evidence of a rule, a host or an account begins in the list of rows."""

    rules: dict[str, int]
    hosts: dict[str, int]
    accounts: dict[str, int]


def write_report(
    stream: TextIO,
    detections: Callable[[], Iterator[Detection]],
    summary: Summary,
    language: Language,
    *,
    written_at: datetime.datetime | None = None,
) -> None:
    """Write the report. ``detections`` is called twice, and read to its end or nearly so.

    Memory is bounded by the limits of ``tally`` and ``evidence``, not by the number of detections. ``written_at`` is
    the aware time that the page states; now, if not given. A stream that is not UTF-8 gets plain ASCII.
    """
    words = WORDS[language]
    sums = add_up(detections())
    quota = quotas(sums.rules)
    chosen = choose(detections(), quota)
    listed = Counter(each.detection.rule_id for each in chosen)
    attack = load_attack()
    first = _first_rows(chosen)
    rules = overview.rule_lines(sums, first.rules, listed)
    numbers = {rule.rule_id: place for place, rule in enumerate(overview.ranked_rules(sums.rules), start=1)}
    style, script = part("report.css"), part("report.js")
    streams, streams_cut = overview.streams(summary)
    losses, losses_cut = overview.losses(summary)
    page = environment().get_template("report.html.j2")
    context = {
        "words": words,
        "policy": policy(style, script),
        "style": style,
        "script": script,
        "levels": tuple(reversed(LEVELS)),
        "level_counts": dict(zip(reversed(LEVELS), sums.all.weight, strict=True)),
        "lead": overview.lead(sums, summary, words),
        "blind": overview.blind(sums, summary, words),
        "read": overview.read(summary, words),
        "span": _span(sums, words),
        "written": words.written.format(time=f"{_utc(written_at):%Y-%m-%d %H:%M}"),
        "total": sums.all.total,
        "timeline": lay_out(sums.times),
        "plot_height": PLOT_HEIGHT_PX,
        "matrix": overview.matrix(rules, attack, language, words.matrix_unknown),
        "attack_version": attack.version,
        "rules": overview.Table(tuple(rules[: overview.RULES_LISTED_MAX]), len(rules), 0, sums.beyond_rules),
        "hosts": overview.name_table(sums.hosts, first.hosts, sums.hostless, sums.beyond_hosts),
        "accounts": overview.name_table(sums.accounts, first.accounts, sums.accountless, sums.beyond_accounts),
        "names_max": NAMES_MAX,
        "top_max": overview.TOP_MAX,
        "rows": rows_of(chosen, numbers.__getitem__, attack),
        "rows_listed": len(chosen),
        "rows_each": max(quota.values(), default=0),
        "rules_unlisted": len(quota) < len(sums.rules),
        "summary": summary,
        "streams": streams,
        "streams_cut": streams_cut,
        "losses": losses,
        "losses_cut": losses_cut,
    }
    write(stream, page.generate(context | _functions(words)))


def _first_rows(chosen: Iterable[Chosen]) -> _FirstRows:
    first = _FirstRows({}, {}, {})
    for number, each in enumerate(chosen, start=1):
        one = each.detection
        first.rules.setdefault(one.rule_id, number)
        first.hosts.setdefault(name_of(one.host), number)
        first.accounts.setdefault(name_of(one.account), number)
    return first


def _span(sums: Sums, words: wording.Words) -> str:
    first, last = (overview.time_texts(time)[0] for time in (sums.all.first_us, sums.all.last_us))
    return words.span.format(first=first, last=last) if first and last else ""


def _utc(moment: datetime.datetime | None) -> datetime.datetime:
    return (moment or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)


def _functions(words: wording.Words) -> dict[str, Callable[..., object]]:
    return {
        "number": wording.number,
        "size": wording.size,
        "counted": partial(wording.counted, words),
        "outside": outside,
        "value": partial(boxed, words),
    }
