"""What the demonstration says, in both languages."""

from __future__ import annotations

from typing import Final

from mingjian.settings import Language

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "welcome": (
        "Mingjian reads logs and runs every rule over every event. This demonstration makes its own logs: invented "
        "people, invented hosts, real formats.",
        "明见读取日志，让每条规则核对每条日志事件。本演示自行生成日志：人物和主机均为虚构，格式与真实产品一致。",
    ),
    "making": (
        "1. The logs: {days} days from {start}",
        "1. 日志：自 {start} 起 {days} 天",
    ),
    "made": (
        "  made in {seconds} s ({speed} events/s)",
        "  用时 {seconds} 秒生成（每秒 {speed} 条）",
    ),
    "made-earlier": (
        "  they were made earlier and are still in {folder}",
        "  此前已生成，仍在 {folder}",
    ),
    "organisation": (
        "  {title} ({id}): {people} people, {hosts} hosts, of which {faults} with a wrong clock or gaps in their logs",
        "  {title}（{id}）：{people} 人，{hosts} 台主机，其中 {faults} 台时钟有误或日志有缺口",
    ),
    "events": (
        "  {records} events in {files} files, {size} MB:",
        "  {files} 个文件，{records} 条日志事件，{size} MB：",
    ),
    "hidden": (
        "  Hidden among them: {planted} events ({share} %) of {campaigns} attacks in {steps} steps. By mistake, as in "
        "life: {repeated} lines twice, {damaged} damaged.",
        "  其中藏有 {campaigns} 起攻击的 {planted} 条日志事件（{share}%），共 {steps} 步。"
        "如同现实，也有差错：{repeated} 行重复，{damaged} 行损坏。",
    ),
    "detecting": (
        "2. Reading and matching with {rules} rules of our own",
        "2. 读取并用自带的 {rules} 条规则匹配",
    ),
    "read": (
        "  {events} events in {seconds} s ({speed} events/s): {fired} rules fired, {hits} detections",
        "  {seconds} 秒读完 {events} 条日志事件（每秒 {speed} 条）：{fired} 条规则命中，检出 {hits} 次",
    ),
    "story": (
        "3. What happened: {found} of {steps} steps were seen (times in UTC)",
        "3. 发生了什么：{steps} 步中看见 {found} 步（时间为 UTC）",
    ),
    "campaign": ("  {title} ({organisation})", "  {title}（{organisation}）"),
    "and-more": (" and {more} more", "，另有 {more} 条规则"),
    "not-seen": (
        "        NOT SEEN: it left {lines} lines, and no rule here looks for them",
        "        未看见：留下 {lines} 行日志，现有规则均不涉及",
    ),
    "mistakes": (
        "4. False alarms: {wrong} of {total} detections",
        "4. 误报：{total} 次检出中有 {wrong} 次",
    ),
    "mistakes-why": (
        "  None of these rests on anything that was planted: they are about things that are in order and look as if "
        "they were not.",
        "  以上检出均与植入的攻击无关：事情本身正常，只是看上去可疑。",
    ),
    "unread": (
        "5. What could not be read: {count} lines; {expected} of the {damaged} that were damaged on purpose are among "
        "them",
        "5. 读不了的内容：{count} 行；有意损坏的 {damaged} 行中，有 {expected} 行在内",
    ),
    "unread-more": ("  … and {more} more", "  ……另有 {more} 行"),
    "report": (
        "6. The report, to look at in a browser: {report}",
        "6. 报告，请用浏览器打开：{report}",
    ),
    "next": (
        "  Your own logs next: ./run detect --rules PATH_TO_SIGMA PATH_TO_LOGS",
        "  接下来看您自己的日志：./run detect --rules SIGMA规则目录 日志目录",
    ),
}


def demo_text(key: str, language: Language) -> str:
    """A text of the demonstration, with places for its values."""
    return _TEXTS[key][1 if language == "zh" else 0]
