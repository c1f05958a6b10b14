"""What the demonstration says, in both languages."""

from __future__ import annotations

from typing import Final

from mingjian.settings import Language

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "welcome": (
        "This demonstration makes a small sector: invented organisations, people and computers, with logs as real "
        "products write them. One intruder is hidden in it. Then it does what a duty desk would do: everything that "
        "comes in is kept, and when something new becomes known, all of the past is asked.",
        "本演示先造出一个小行业：单位、人员、计算机均为虚构，日志格式与真实产品一致，其中藏着一名入侵者。"
        "然后像值班台那样工作：送来的日志全部留存；一旦得知新线索，就向全部历史发问。",
    ),
    "making": (
        "1. The sector: {organisations} organisations, {days} days, {start} to {end}",
        "1. 行业：{organisations} 家单位，{days} 天，{start} 至 {end}",
    ),
    "made": (
        "  made in {seconds} s",
        "  用时 {seconds} 秒生成",
    ),
    "made-earlier": (
        "  It was made earlier and is still in {folder}.",
        "  此前已生成，仍在 {folder}。",
    ),
    "organisation": (
        "  {title} ({id}): {people} people, {hosts} computers",
        "  {title}（{id}）：{people} 人，{hosts} 台计算机",
    ),
    "events": (
        "  {records} log events in {files} files, {size} MB: what members hand on, not all that they have.",
        "  {files} 个文件，{records} 条日志事件，{size} MB：是各单位上送的部分，并非全部。",
    ),
    "truth": (
        "  Who the intruder is stands in {file}. Nobody opens it before chapter 8.",
        "  入侵者的真相写在 {file} 中，第 8 章之前谁也不看。",
    ),
    "ingesting": (
        "2. The logs come in, and {rules} starter rules look at every event",
        "2. 日志送达，{rules} 条入门规则逐条核对",
    ),
    "taken": (
        "  {id}: {events} log events in {seconds} s, {detections} detections",
        "  {id}：{events} 条日志事件，{seconds} 秒，检出 {detections} 次",
    ),
    "known": (
        "  {id}: known already, nothing is taken in twice",
        "  {id}：此前已收，不重复入库",
    ),
    "looked-over": (
        "  How everybody behaves over all that time was looked at in {seconds} s: {findings} oddities",
        "  用 {seconds} 秒分析了全部时间里的行为：{findings} 处异常",
    ),
    "noticed": (
        "3. What was noticed in all that time: {count} detections",
        "3. 这段时间里注意到了什么：检出 {count} 次",
    ),
    "more": ("  … and {more} more", "  ……另有 {more} 项"),
    "noticed-why": (
        "  About one every {days} days. Most are administrators, updaters and meters at their work. Which of them "
        "matters, nobody can tell yet.",
        "  约每 {days} 天一次，多半是管理员、升级程序和计量设备的正常活动。哪一次要紧，眼下谁也说不准。",
    ),
    "arriving": (
        "4. A message arrives, the day after all this",
        "4. 随后一天，收到一条消息",
    ),
    "arriving-why": (
        "  A partner has seized a computer and found the server that it obeyed. Did anybody here ever talk to it?",
        "  合作单位查获一台被控计算机，查明了它听命的服务器。我们这里有谁与它通信过？",
    ),
    "indicator": (
        "  {kind}: {value}",
        "  {kind}：{value}",
    ),
    "documentation": (
        "  (Like every outside address here, this one is reserved for examples, and a warning list knows that. So the "
        "address alone raises no alarm; the name does.)",
        "  （与本演示的所有外部地址一样，它属于文档示例专用地址段，预警名单认得它，因此地址本身不报警，域名才报警。）",
    ),
    "hunting": (
        "5. All of the past is asked: {segments} stored pieces, {events} log events",
        "5. 向全部历史发问：{segments} 个数据段，{events} 条日志事件",
    ),
    "hunted": (
        "  Answered in {seconds} s: seen in {count} log events.",
        "  {seconds} 秒后得到回答：见于 {count} 条日志事件。",
    ),
    "first": (
        "  First on {date}, {months} months before the message, in {organisation}.",
        "  最早在 {date}，比消息早 {months} 个月，在 {organisation}。",
    ),
    "nowhere": (
        "  It was never seen.",
        "  从未见过。",
    ),
    "trace": (
        "  {organisation}: {count} log events, {first} to {last}{hosts}",
        "  {organisation}：{count} 条日志事件，{first} 至 {last}{hosts}",
    ),
    "no-trace": (
        "  {organisation}: not seen",
        "  {organisation}：未见",
    ),
    "on-hosts": (
        "; on {hosts}",
        "；主机 {hosts}",
    ),
    "coverage": (
        "  What this answer could not see: {sentence}",
        "  这个回答看不到的：{sentence}",
    ),
    "asking": (
        "6. Who is it? The first question goes to the computer where it began",
        "6. 它是谁？先问最早出现的那台计算机",
    ),
    "asking-own": (
        "  (Of a computer of our own, “foe” means: somebody else is at work on it.)",
        "  （对自己的计算机而言，“敌”的意思是：有外人在操纵它。）",
    ),
    "own": (
        "  One of our own computers counts as ours until more than one thing speaks against it. So the questions go "
        "on, each led to by an answer:",
        "  自己的计算机在多方证据出现之前仍算自己的。于是继续追问，每个回答都引出下一个问题：",
    ),
    "asking-more": (
        "  Each answer leads to the next question:",
        "  每个回答都引出下一个问题：",
    ),
    "began": ("where it began", "最早出现处"),
    "arrived": ("what arrived", "收到的线索"),
    "program": ("a rare program that asked for it", "与它通信的罕见程序"),
    "host": ("a computer that was touched", "牵涉到的计算机"),
    "answer": (
        "  · {why}: {sentence}",
        "  · {why}：{sentence}",
    ),
    "page": (
        "7. The story as a page, with every card: open {uri} in a browser",
        "7. 完整的故事和每张卡片已写成网页，用浏览器打开 {uri}",
    ),
    "story": (
        "8. Now the truth is opened: {found} of the intruder's {steps} steps were found (+ found, - not found; times "
        "in UTC)",
        "8. 打开真相：入侵者的 {steps} 步中找到 {found} 步（+ 找到，- 未找到；时间为 UTC）",
    ),
    "campaign": ("  {title}", "  {title}"),
    "mistakes": (
        "  False alarms: {wrong} of {total} detections had nothing to do with the intruder:",
        "  误报：{total} 次检出中有 {wrong} 次与入侵者无关：",
    ),
    "mistakes-of": (
        "    {organisation}: {count} in {days} days",
        "    {organisation}：{days} 天内 {count} 次",
    ),
    "unread": (
        "  {count} lines could not be read and are kept apart, with the reason; {damaged} lines had been damaged on "
        "purpose.",
        "  有 {count} 行读不了，已连同原因另行保存；有意损坏的共 {damaged} 行。",
    ),
    "next": (
        "9. Go on yourself: everything is in the workspace {folder}",
        "9. 接着自己试：一切都在工作区 {folder}",
    ),
    "took": (
        "  (all of this took {seconds} s)",
        "  （全程用时 {seconds} 秒）",
    ),
    "serving": (
        "The same is in your browser now: {address}",
        "现在可以在浏览器中查看：{address}",
    ),
    "sign-in": (
        "  Open this to sign in, once: {link}",
        "  首次登录请打开（仅一次有效）：{link}",
    ),
    "signed-in-before": (
        "  Somebody has signed in before; mingjian users link NAME makes another link.",
        "  此前已有人登录；mingjian users link 用户名 可再生成链接。",
    ),
    "to-end": (
        "  Ctrl-C ends it. Later, mingjian serve in the folder does the same.",
        "  按 Ctrl-C 结束。以后在该文件夹中运行 mingjian serve 即可再次打开。",
    ),
    "ended": (
        "Ended. Everything stays in {folder}",
        "已结束。一切保留在 {folder}",
    ),
}


def demo_text(key: str, language: Language) -> str:
    """A text of the demonstration, with places for its values."""
    return _TEXTS[key][1 if language == "zh" else 0]
