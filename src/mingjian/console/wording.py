"""All words of the report, in both languages. What is in braces is filled in; nothing from outside is a template."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mingjian.model.rules import Level
from mingjian.settings import Language

NARROW_SPACE = "\u202f"
"""Groups the digits of large numbers."""
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language. The names of the fields are the places where the words stand."""

    tag: str
    """For the ``lang`` attribute."""
    title: str
    levels: Mapping[Level, str]
    counted: Mapping[str, tuple[str, str]]
    """Noun → the phrase for one and for any other number."""
    steps: Mapping[str, str]

    comma: str
    full_stop: str
    lead: str
    lead_levels: str
    lead_level: str
    lead_worst: str
    lead_host: str
    lead_hosts: str
    lead_since: str
    lead_nothing: str
    lead_unread: str
    lead_untimed_only: str
    read: str
    span: str
    written: str
    blind: str
    blind_nothing: str

    contents: str
    timeline: str
    timeline_axis: str
    timeline_gaps: str
    timeline_outliers: str
    timeline_nothing: str
    as_table: str
    start: str
    total: str
    matrix: str
    matrix_note: str
    matrix_silent: str
    matrix_untagged: str
    matrix_unknown: str
    matrix_nothing: str
    sub_techniques: str
    top: str
    top_note: str
    top_rules: str
    top_hosts: str
    top_accounts: str
    top_all: str
    top_without_host: str
    top_without_account: str
    top_nothing: str
    beyond: str
    more: str
    first: str
    last: str
    hosts_more: str

    detections: str
    detections_note: str
    detections_cut: str
    detections_cut_rules: str
    filter_text: str
    filter_level: str
    filter_all: str
    filter_sort: str
    sort_worst: str
    sort_time: str
    sort_rule: str
    sort_host: str
    filter_shown: str
    filter_clear: str
    filter_none: str
    open_all: str
    close_all: str

    level: str
    time: str
    rule: str
    host: str
    account: str
    techniques: str
    no_time: str
    none: str
    where: str
    rule_id: str
    kind: str
    correlation: str
    stream: str
    file: str
    record: str
    matched: str
    matched_nothing: str
    matched_correlation: str
    atoms: str
    atoms_correlation: str
    cut_value: str
    cut_fields: str
    cut_list: str
    command: str
    command_note: str
    command_not: str

    all_rules: str
    all_rules_note: str
    all_rules_cut: str
    listed: str
    run: str
    run_streams: str
    run_files: str
    run_events: str
    run_bytes: str
    run_time: str
    run_rules: str
    run_fired: str
    run_losses: str
    run_slowest: str
    streams_cut: str
    how: str
    how_lines: tuple[str, ...]


def number(value: int) -> str:
    r"""Write a number with grouped digits.

    >>> number(1234567) == "1\u202f234\u202f567"
    True
    """
    return f"{value:,}".replace(",", NARROW_SPACE)


def size(value: int) -> str:
    """Write a number of bytes in binary units.

    >>> [size(value) for value in (0, 2048, 5_000_000)]
    ['0 B', '2.0 KiB', '4.8 MiB']
    """
    amount, unit = float(value), 0
    while amount >= 1024 and unit < len(_BYTE_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_BYTE_UNITS[unit]}" if unit else f"{value} B"


def counted(words: Words, noun: str, value: int) -> str:
    r"""Write a number with its noun.

    >>> counted(EN, "host", 1), counted(EN, "host", 2), counted(ZH, "host", 2)
    ('1 host', '2 hosts', '2 台主机')
    """
    one, many = words.counted[noun]
    return (one if value == 1 else many).format(n=number(value))


EN = Words(
    tag="en",
    title="Mingjian: detections",
    levels={"critical": "critical", "high": "high", "medium": "medium", "low": "low", "informational": "info"},
    counted={
        "detection": ("{n} detection", "{n} detections"),
        "host": ("{n} host", "{n} hosts"),
        "file": ("{n} file", "{n} files"),
        "event": ("{n} event", "{n} events"),
        "rule": ("{n} rule", "{n} rules"),
        "time": ("once", "{n} times"),
        "technique": ("{n} technique", "{n} techniques"),
        "other host": ("one more", "{n} more"),
        "quarantined": (
            "{n} piece of input could not be read and is in quarantine",
            "{n} pieces of input could not be read and are in quarantine",
        ),
        "unknown": (
            "{n} event is of no known source: only rules without log source looked at it (mingjian sources check)",
            "{n} events are of no known source: only rules without log source looked at them (mingjian sources check)",
        ),
        "skipped": (
            "{n} rule could not be used (mingjian rules check)",
            "{n} rules could not be used (mingjian rules check)",
        ),
        "untimed": ("{n} detection has no time", "{n} detections have no time"),
        "uncorrelated": (
            "{n} match has no time and could not be correlated",
            "{n} matches have no time and could not be correlated",
        ),
        "late": ("{n} match came too late to be correlated", "{n} matches came too late to be correlated"),
        "not run": ("{n} correlation could not be run", "{n} correlations could not be run"),
        "lost": ("{n} match was left out of a correlation", "{n} matches were left out of correlations"),
    },
    steps={
        "second": "1 second",
        "minute": "1 minute",
        "hour": "1 hour",
        "day": "1 day",
        "week": "1 week",
        "month": "1 month",
        "quarter": "3 months",
        "year": "1 year",
    },
    comma=", ",
    full_stop=".",
    lead="{detections} on {hosts}",
    lead_levels=": {levels}. ",
    lead_level="{n} {level}",
    lead_worst="The worst: ",
    lead_host=", on ",
    lead_hosts=" and {hosts}",
    lead_since=", since {time} UTC, {times}",
    lead_nothing="No rule matched. {events} in {files} were read, and {rules} were loaded.",
    lead_unread="Nothing could be seen: not one event was read from {files}.",
    lead_untimed_only=", {times}",
    read="Read: {files}, {events}, {bytes}; {rules}, of which {fired} matched. ",
    span="First detection {first}, last {last} (UTC).",
    written="Written {time} UTC.",
    blind="Not seen",
    blind_nothing="All input was read, and every event is of a known source.",
    contents="On this page",
    timeline="Detections over time",
    timeline_axis="One bar is {step}; height: number of detections; axis: time in UTC, {start} to {end}. ",
    timeline_gaps="Where there is no bar, nothing was detected; whether there were events then is not shown here.",
    timeline_outliers="Not drawn, because their time is far from that of all others: {before} earlier, {after} later.",
    timeline_nothing="No detection has a time.",
    as_table="As table",
    start="Start (UTC)",
    total="All",
    matrix="ATT&CK techniques",
    matrix_note=(
        "Version {version}, techniques with detections only. A technique stands under each of its tactics; a detection "
        "counts for each technique that its rule names. The mark is that of the worst detection."
    ),
    matrix_silent="No detection: {tactics}.",
    matrix_untagged="{n} detections are by rules that name no technique.",
    matrix_unknown="Not in the ATT&CK data at hand",
    matrix_nothing="No rule that matched names a technique.",
    sub_techniques="Sub-techniques",
    top="Rules, hosts, accounts",
    top_note="Ordered by the number of critical detections, then of high ones, and so on.",
    top_rules="Rules",
    top_hosts="Hosts",
    top_accounts="Accounts",
    top_all="All {n}",
    top_without_host="{n} detections name no host.",
    top_without_account="{n} detections name no account.",
    top_nothing="None is named.",
    beyond="{n} detections are of names beyond the first {max} and are not ranked.",
    more="{n} more are not listed.",
    first="First",
    last="Last",
    hosts_more="more than {n} others",
    detections="Detections and their evidence",
    detections_note="The worst first, then by time (UTC). Open a row to see the evidence.",
    detections_cut=(
        "{listed} of {all} detections are listed here: at most {max} of each rule, the earliest. The others are "
        "counted in the table of rules; --format jsonl or csv has all of them."
    ),
    detections_cut_rules="The least severe rules have no row here at all.",
    filter_text="Filter by text",
    filter_level="Level",
    filter_all="all",
    filter_sort="Order",
    sort_worst="worst first",
    sort_time="time",
    sort_rule="rule",
    sort_host="host",
    filter_shown="{shown} of {all} shown",
    filter_clear="Show all",
    filter_none="No row fits the filter.",
    open_all="Open shown",
    close_all="Close all",
    level="Level",
    time="Time (UTC)",
    rule="Rule",
    host="Host",
    account="Account",
    techniques="Techniques",
    no_time="no time",
    none="–",
    where="Where it is",
    rule_id="Rule id",
    kind="Kind",
    correlation="correlation of several events",
    stream="Stream",
    file="File",
    record="Record",
    matched="What matched",
    matched_nothing="The rule matched by what the event does not have.",
    matched_correlation="What the events have in common",
    atoms="Atoms of the condition that were true",
    atoms_correlation="Events that made it (rule, file:record)",
    cut_value="… {n} more characters",
    cut_fields="{n} more fields are not shown.",
    cut_list="{n} more are not shown.",
    command="To see which parts of the rule were true",
    command_note="RULES is the folder with the rules.",
    command_not="The name of the file has characters that cannot be typed, so there is no command to copy.",
    all_rules="All rules that matched",
    all_rules_note="In the same order as above.",
    all_rules_cut="{n} more rules are not listed.",
    listed="Listed",
    run="The run",
    run_streams="Events by stream",
    run_files="Files",
    run_events="Events",
    run_bytes="Read",
    run_time="Time taken",
    run_rules="Rules loaded",
    run_fired="Rules that matched",
    run_losses="What correlations left out",
    run_slowest="Slowest rules (seconds)",
    streams_cut="{n} more streams are not listed.",
    how="How to read this page",
    how_lines=(
        "A detection is a rule that matched, with the events that made it match. It is not yet an opinion.",
        "Text from logs stands letter by letter. What cannot be seen is written out and marked: \\x1b, \\u202e.",
        "The page is one file. It loads nothing, sends nothing, and works without its script.",
        "Printed, it shows the rows that are open with their evidence, and the others as lines.",
        "ATT&CK names: © The MITRE Corporation, reproduced and distributed with its permission.",
    ),
)
"""English."""

ZH = Words(
    tag="zh-Hans",
    title="明见：检出报告",
    levels={"critical": "严重", "high": "高", "medium": "中", "low": "低", "informational": "提示"},
    counted={
        "detection": ("{n} 处检出", "{n} 处检出"),
        "host": ("{n} 台主机", "{n} 台主机"),
        "file": ("{n} 个文件", "{n} 个文件"),
        "event": ("{n} 条日志事件", "{n} 条日志事件"),
        "rule": ("{n} 条规则", "{n} 条规则"),
        "time": ("1 次", "{n} 次"),
        "technique": ("{n} 项技术", "{n} 项技术"),
        "other host": ("1 台", "{n} 台"),
        "quarantined": ("{n} 处输入无法读取，已进入隔离", "{n} 处输入无法读取，已进入隔离"),
        "unknown": (
            "{n} 条日志事件没有已知的数据源，只有不限日志源的规则检查过它们（mingjian sources check）",
            "{n} 条日志事件没有已知的数据源，只有不限日志源的规则检查过它们（mingjian sources check）",
        ),
        "skipped": (
            "{n} 条规则不能使用（mingjian rules check）",
            "{n} 条规则不能使用（mingjian rules check）",
        ),
        "untimed": (
            "{n} 处检出没有时间",
            "{n} 处检出没有时间",
        ),
        "uncorrelated": (
            "{n} 次命中没有时间，无法关联",
            "{n} 次命中没有时间，无法关联",
        ),
        "late": ("{n} 次命中来得太晚，无法关联", "{n} 次命中来得太晚，无法关联"),
        "not run": ("{n} 条关联规则不能运行", "{n} 条关联规则不能运行"),
        "lost": ("{n} 次命中未能计入关联", "{n} 次命中未能计入关联"),
    },
    steps={
        "second": "1 秒",
        "5 seconds": "5 秒",
        "15 seconds": "15 秒",
        "minute": "1 分钟",
        "5 minutes": "5 分钟",
        "15 minutes": "15 分钟",
        "hour": "1 小时",
        "3 hours": "3 小时",
        "12 hours": "12 小时",
        "day": "1 天",
        "week": "1 周",
        "month": "1 个月",
        "quarter": "3 个月",
        "year": "1 年",
        "10 years": "10 年",
        "100 years": "100 年",
    },
    comma="、",
    full_stop="。",
    lead="{hosts}上有 {detections}",
    lead_levels="：{levels}。",
    lead_level="{level} {n}",
    lead_worst="最严重的是：",
    lead_host="，主机 ",
    lead_hosts=" 及另外 {hosts}",
    lead_since="，始于 {time} UTC，共 {times}",
    lead_nothing="没有规则命中。共读取 {files}中的 {events}，加载了 {rules}。",
    lead_unread="什么也看不到：{files}中一条日志事件也没有读到。",
    lead_untimed_only="，共 {times}",
    read="已读取：{files}、{events}、{bytes}；{rules}，其中 {fired} 条命中。",
    span="首次检出 {first}，末次 {last}（UTC）。",
    written="本页写于 {time} UTC。",
    blind="未能看到",
    blind_nothing="全部输入均已读取，每条日志事件都有已知的数据源。",
    contents="本页内容",
    timeline="检出的时间分布",
    timeline_axis="每条柱为 {step}；高度：检出数；横轴：UTC 时间，{start} 至 {end}。",
    timeline_gaps="没有柱的地方没有检出；当时有无日志事件，这里不显示。",
    timeline_outliers="时间远离其他检出、因而未画出的：更早 {before} 处，更晚 {after} 处。",
    timeline_nothing="没有一处检出带有时间。",
    as_table="以表格显示",
    start="开始（UTC）",
    total="合计",
    matrix="ATT&CK 技术",
    matrix_note=(
        "第 {version} 版，只列有检出的技术，技术名称用英文原名。一项技术列在它的每个战术之下；"
        "一处检出计入其规则所指的每项技术。标记取自最严重的检出。"
    ),
    matrix_silent="没有检出的战术：{tactics}。",
    matrix_untagged="{n} 处检出的规则没有指明技术。",
    matrix_unknown="不在现有 ATT&CK 数据中",
    matrix_nothing="命中的规则都没有指明技术。",
    sub_techniques="子技术",
    top="规则、主机、账户",
    top_note="先按严重检出的数目排列，再按高级检出的数目，依此类推。",
    top_rules="规则",
    top_hosts="主机",
    top_accounts="账户",
    top_all="全部 {n} 个",
    top_without_host="{n} 处检出没有主机名。",
    top_without_account="{n} 处检出没有账户名。",
    top_nothing="没有名称。",
    beyond="{n} 处检出的名称在前 {max} 个之外，未参加排列。",
    more="另有 {n} 个未列出。",
    first="首次",
    last="末次",
    hosts_more="超过 {n} 台",
    detections="检出与证据",
    detections_note="先列最严重的，再按时间（UTC）。展开一行可看证据。",
    detections_cut=(
        "这里列出 {all} 处检出中的 {listed} 处：每条规则最多列最早的 {max} 处。其余只计入规则表；"
        "--format jsonl 或 csv 给出全部。"
    ),
    detections_cut_rules="级别最低的规则在这里没有行。",
    filter_text="按文字筛选",
    filter_level="级别",
    filter_all="全部",
    filter_sort="顺序",
    sort_worst="最严重的在前",
    sort_time="时间",
    sort_rule="规则",
    sort_host="主机",
    filter_shown="显示 {all} 行中的 {shown} 行",
    filter_clear="全部显示",
    filter_none="没有符合筛选条件的行。",
    open_all="展开所示",
    close_all="全部收起",
    level="级别",
    time="时间（UTC）",
    rule="规则",
    host="主机",
    account="账户",
    techniques="技术",
    no_time="无时间",
    none="–",
    where="出处",
    rule_id="规则编号",
    kind="种类",
    correlation="多条日志事件的关联",
    stream="数据流",
    file="文件",
    record="记录",
    matched="命中的内容",
    matched_nothing="使规则命中的是日志事件所没有的内容。",
    matched_correlation="这些日志事件的共同之处",
    atoms="为真的原子条件",
    atoms_correlation="促成它的日志事件（规则 文件:记录）",
    cut_value="……还有 {n} 个字符",
    cut_fields="另有 {n} 个字段未显示。",
    cut_list="另有 {n} 项未显示。",
    command="查看规则的哪些部分为真",
    command_note="RULES 是存放规则的文件夹。",
    command_not="文件名含有无法键入的字符，因此没有可复制的命令。",
    all_rules="全部命中的规则",
    all_rules_note="顺序同上。",
    all_rules_cut="另有 {n} 条规则未列出。",
    listed="列出",
    run="本次运行",
    run_streams="各数据流的日志事件数",
    run_files="文件",
    run_events="日志事件",
    run_bytes="读取量",
    run_time="用时",
    run_rules="已加载的规则",
    run_fired="命中的规则",
    run_losses="关联未能计入的内容",
    run_slowest="最慢的规则（秒）",
    streams_cut="另有 {n} 个数据流未列出。",
    how="如何阅读本页",
    how_lines=(
        "检出是命中的规则连同使它命中的日志事件，尚不含意见。",
        "来自日志的文字逐字显示；看不见的字符写明并加标记，例如 \\x1b、\\u202e。",
        "本页是一个独立的文件：不加载也不发送任何东西，不用脚本也能阅读。",
        "打印时，展开的行连同证据一起打印，其余的行只占一行。",
        "ATT&CK 名称：© The MITRE Corporation，经其许可复制和分发。",
    ),
)
"""Chinese."""

WORDS: Mapping[Language, Words] = {"en": EN, "zh": ZH}
