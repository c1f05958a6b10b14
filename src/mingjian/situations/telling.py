"""The card in words: lines for a terminal, and the words that the page shares with them, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from mingjian.hunt.vocabulary import role_in
from mingjian.settings import Language
from mingjian.situations.card import ChainStep, Step, VerdictCard

STEPS_SHOWN: Final = 40
"""So many lines of the timeline are printed; JSON and HTML have all."""
NAMES_SHOWN: Final = 12
NODES_SHOWN: Final = 12
_CHINESE: Final = re.compile("[\u4e00-\u9fff]")
_MARKS: Final = {"critical": "◆", "high": "▲", "medium": "■", "low": "●", "informational": "○"}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language. What is in braces is filled in."""

    tag: str
    language: Language
    title: str
    kinds: Mapping[str, str]
    verdicts: Mapping[str, str]
    verdict: str
    who: str
    verdict_heading: str
    what: str
    not_seen: str
    seen: str
    hosts: str
    accounts: str
    organisations: str
    roles: str
    streams: str
    also: str
    joined: str
    more: str
    cut: str
    speaks_for: str
    speaks_against: str
    unknown: str
    nothing: str
    terms: str
    points: str
    sum: str
    why: str
    chain: str
    inferred: str
    timeline: str
    times: str
    of_read: str
    left_out: str
    as_written: str
    """Said where titles of rules stand that others wrote in another language."""
    touched: str
    on_hosts: str
    bad: str
    rest: str
    unlisted: str
    further: str
    coverage: str
    show: str
    step_kinds: Mapping[str, str]
    comma: str
    time: str
    count: str
    first: str
    last: str
    stream: str
    evidence: str


def sentence(card: VerdictCard, words: Words) -> str:
    """The answer in one sentence: what it is, and friend or foe."""
    verdict = words.verdicts[card.verdict]
    kind = words.kinds[card.kind]
    return words.verdict.format(
        kind=kind, observable=card.observable, verdict=verdict, percent=round(100 * card.probability), score=card.score
    )


def has_foreign_titles(card: VerdictCard, language: Language) -> bool:
    """Whether titles of rules are in another language than the card: others wrote them, and they stay as they are."""
    titles = [step.says for step in card.timeline if step.kind == "detection"]
    return language == "zh" and any(not _CHINESE.search(title) for title in titles)


def to_second(time: str | None) -> str:
    """A time as people read it, to the second; the JSON has the microseconds.

    >>> to_second("2026-03-19T11:12:39.946000Z"), to_second(None)
    ('2026-03-19 11:12:39', '—')
    """
    return "—" if time is None else time[:19].replace("T", " ")


def lines(card: VerdictCard, language: Language) -> Iterator[str]:
    """The card for a terminal, line by line."""
    words = WORDS[language]
    yield sentence(card, words)
    yield ""
    yield from _who(card, words)
    yield ""
    yield words.verdict_heading
    for term in card.terms:
        yield f"  {term.points:+4d}  {term.says}"
    yield f"  {card.score:+4d}  {words.sum}"
    yield from _listed(words.unknown, card.unknown)
    if card.chain:
        yield ""
        yield f"{words.what}  {words.chain}"
        for step in card.chain:
            yield f"  {_chain_line(step, words)}"
    if card.timeline:
        yield ""
        yield f"{words.what}  {words.timeline}"
        for step in shown_steps(card):
            yield from _step_lines(step, words)
        left = len(card.timeline) - STEPS_SHOWN
        if left > 0:
            yield "  " + words.rest.format(count=left)
        if has_foreign_titles(card, language):
            yield "  " + words.as_written
        if card.timeline_left_out:
            yield "  " + words.left_out.format(count=f"{card.timeline_left_out:,}")
    yield from _touched(card, words)
    yield ""
    yield words.coverage
    yield f"  {card.coverage}"


def shown_steps(card: VerdictCard, limit: int = STEPS_SHOWN) -> list[Step]:
    """The steps that are shown where not all are: detections, the first and the last event, then others, in order."""

    def rank(place: int) -> tuple[bool, int, int]:
        step = card.timeline[place]
        return step.kind == "event", step.rank, place

    ranked = sorted(range(len(card.timeline)), key=rank)
    return [card.timeline[place] for place in sorted(ranked[:limit])]


def _who(card: VerdictCard, words: Words) -> Iterator[str]:
    yield words.who
    yield from ("  " + line for line in joined_lines(card, words))
    if not card.seen:
        if not card.joined:
            yield "  " + words.not_seen
        return
    yield "  " + words.seen.format(count=f"{card.count:,}", first=to_second(card.first), last=to_second(card.last))
    yield from _names(words.organisations, card.organisations, words)
    if card.also:
        yield from _names(words.also, card.also, words)
    yield from _names(words.hosts, card.hosts, words)
    yield from _names(words.accounts, card.accounts, words)
    if card.lists_cut:
        yield "  " + words.cut
    roles = dict.fromkeys(f"{role.source}/{role_in(role.role, words.language)}" for role in card.roles)
    yield from _names(words.roles, list(roles), words)


def joined_lines(card: VerdictCard, words: Words) -> list[str]:
    """The other names that are told together with it, in words."""
    return [
        words.joined.format(
            observable=each.observable,
            organisation=each.organisation,
            count=f"{each.count:,}",
            first=to_second(each.first),
            last=to_second(each.last),
        )
        for each in card.joined
    ]


def _names(heading: str, names: Sequence[str], words: Words) -> Iterator[str]:
    shown = words.comma.join(names[:NAMES_SHOWN])
    left = len(names) - NAMES_SHOWN
    yield f"  {heading} ({len(names)}): {shown}" + (words.more.format(count=left) if left > 0 else "")


def _listed(heading: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield f"  {heading}"
        for entry in entries:
            yield f"     ?  {entry}"


def _chain_line(step: ChainStep, words: Words) -> str:
    if step.is_inferred:
        return f"┄ {step.name} ({words.inferred}: {step.because})"
    return f"→ {to_second(step.time)}  {step.name} [{', '.join(step.techniques)}] ×{step.count}: {step.because}"


def _step_lines(step: Step, words: Words) -> Iterator[str]:
    mark = _MARKS.get(step.level or "", "·")
    often = ""
    if step.count > 1:
        until = f" → {to_second(step.last)}" if to_second(step.last) != to_second(step.time) else ""
        often = f"  ×{step.count}{until}" + ("" if step.is_exact else f" {words.of_read}")
    where = " ".join(part for part in (step.host, step.account) if part)
    kind = words.step_kinds[step.kind]
    yield f"  {to_second(step.time)} {mark} {kind}{step.stream}  {step.says}{often}"
    if step.terms:
        yield f"      {words.comma.join(step.terms)}"
    yield f"      {where}{'  ' if where else ''}{step.evidence.command}"


def _touched(card: VerdictCard, words: Words) -> Iterator[str]:
    edges = [edge for edge in card.graph.edges if edge.start == 0]
    if not edges:
        return
    yield ""
    yield f"{words.what}  {words.touched}"
    for edge in edges[:NODES_SHOWN]:
        node = card.graph.nodes[edge.end]
        bad = f"  {words.bad}" if node.is_bad else ""
        on_hosts = words.on_hosts.format(hosts=node.hosts, count=f"{node.count:,}")
        yield f"  {words.kinds[node.kind]} {node.value}  ({role_in(edge.role, words.language)}; {on_hosts}){bad}"
    left = len(edges) - NODES_SHOWN + card.graph.left_out
    if left > 0:
        yield "  " + words.rest.format(count=left)


WORDS: Final[Mapping[Language, Words]] = {
    "en": Words(
        tag="en",
        language="en",
        title="Verdict card",
        kinds={
            "ip": "address",
            "domain": "domain",
            "url": "URL",
            "email": "e-mail address",
            "hash": "hash",
            "account": "account",
            "host": "host",
            "certificate": "certificate",
            "ja3": "JA3",
            "ja4": "JA4",
            "file": "file",
            "package": "package",
        },
        verdicts={
            "friend": "a friend",
            "unknown": "not known to be friend or foe",
            "suspicious": "suspicious",
            "foe": "a foe",
        },
        verdict="The {kind} {observable} is {verdict}: {percent} % likely to be a foe (score {score:+d}).",
        who="WHO",
        verdict_heading="FRIEND OR FOE",
        what="WHAT",
        not_seen="It was never seen in what is kept.",
        seen="Seen in {count} events, first {first}, last {last} (UTC).",
        hosts="hosts",
        accounts="accounts",
        organisations="organisations",
        roles="roles",
        streams="streams",
        also="also known as",
        joined="told together with {observable} of {organisation}, the same host: {count} events, {first} to {last}",
        more=" and {count} more",
        cut="The lists of hosts and accounts are cut: there are more.",
        speaks_for="Speaks for a foe",
        speaks_against="Speaks against",
        unknown="not known:",
        nothing="Nothing.",
        terms="Terms",
        points="points",
        sum="in all; every ten points make it ten times as likely that it is a foe",
        why="why that weighs as much",
        chain="The chain of tactics (┄ is inferred, not seen)",
        inferred="inferred",
        timeline="The timeline (UTC)",
        times="times",
        of_read="among the events read",
        left_out="{count} events are counted above, and no line stands for them",
        as_written="rules that others wrote keep the titles that they gave them",
        touched="What it touched, the rarest first",
        on_hosts="hosts: {hosts}, events ever: {count}",
        bad="an indicator calls it malicious",
        rest="… and {count} more; --format json or html has them",
        unlisted="{count} more are not listed here",
        further="Further events ({count})",
        coverage="WHAT COULD NOT BE SEEN",
        show="show the record",
        step_kinds={"detection": "", "behaviour": "", "first": "first seen: ", "last": "last seen: ", "event": ""},
        comma=", ",
        time="Time (UTC)",
        count="Events",
        first="First",
        last="Last",
        stream="Stream",
        evidence="Evidence",
    ),
    "zh": Words(
        tag="zh-CN",
        language="zh",
        title="研判卡片",
        kinds={
            "ip": "地址",
            "domain": "域名",
            "url": "网址",
            "email": "邮箱地址",
            "hash": "散列值",
            "account": "账号",
            "host": "主机",
            "certificate": "证书",
            "ja3": "JA3",
            "ja4": "JA4",
            "file": "文件",
            "package": "软件包",
        },
        verdicts={"friend": "友", "unknown": "敌友未明", "suspicious": "可疑", "foe": "敌"},
        verdict="{kind} {observable}：{verdict}，为敌的可能性 {percent}%（得分 {score:+d}）。",
        who="谁",
        verdict_heading="是敌是友",
        what="干了什么",
        not_seen="在全部留存日志中从未见到。",
        seen="见于 {count} 条日志事件，最早 {first}，最晚 {last}（UTC）。",
        hosts="主机",
        accounts="账号",
        organisations="单位",
        roles="角色",
        streams="数据流",
        also="别名",
        joined="与 {organisation} 的 {observable} 合并讲述（同一主机）：{count} 条日志事件，{first} 至 {last}",
        more=" 等，另有 {count} 个",
        cut="主机和账号列表已截断：实际更多。",
        speaks_for="支持为敌",
        speaks_against="反对为敌",
        unknown="未知：",
        nothing="无。",
        terms="各项依据",
        points="分",
        sum="合计；每 10 分使为敌的可能性增至十倍",
        why="为何如此计分",
        chain="战术链（┄ 为推断，未直接见到）",
        inferred="推断",
        timeline="时间线（UTC）",
        times="次",
        of_read="（仅计已读取的日志事件）",
        left_out="另有 {count} 条日志事件已计入总数，但未逐条列出",
        as_written="他人编写的规则，标题保留原文",
        touched="接触了什么（稀有者在前）",
        on_hosts="共见于 {hosts} 台主机、{count} 条日志事件",
        bad="有指标称其为恶意",
        rest="……另有 {count} 项；--format json 或 html 可见全部",
        unlisted="另有 {count} 项未在此列出",
        further="更多日志事件（{count}）",
        coverage="哪些看不到",
        show="查看原始记录",
        step_kinds={"detection": "", "behaviour": "", "first": "首次见到：", "last": "最后见到：", "event": ""},
        comma="、",
        time="时间（UTC）",
        count="日志事件数",
        first="最早",
        last="最晚",
        stream="数据流",
        evidence="证据",
    ),
}
