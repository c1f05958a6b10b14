"""Text that adversaries wrote stays text in the report: through every field, in both languages, in a real browser."""

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from htmlpage import Element, parsed
from mingjian.console.report import write_report
from mingjian.hunt.detection import Ranked, Summary
from mingjian.model.detections import Detection
from mingjian.settings import Language
from mingjian.telemetry import visible

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<script\x0b>alert(1)</script\x0b>",
    "<<script>alert(1)//<</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</textarea></noscript></select><img src=x onerror=alert(1)>",
    "--><script>alert(1)</script><!--",
    "<!-- <img src=x> -->",
    "<!--><script>alert(1)</script>-->",
    "]]><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><?php echo 1 ?>",
    "<!DOCTYPE html><html><body onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    "<img/src=x/onerror=alert(1)>",
    "<img\nsrc=x\nonerror=alert(1)\n>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "</svg><svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><use href='data:image/svg+xml,<svg id=x xmlns=http://www.w3.org/2000/svg/>#x'></svg>",
    "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='javascript:alert(1)'></object><embed src=x>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<meta http-equiv='Content-Security-Policy' content=\"script-src 'unsafe-inline'\">",
    "<style>*{background:url(https://evil.example/x)}</style>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='https://evil.example/' ping='https://evil.example/p'>x</a>",
    "<form action=https://evil.example/><input name=x autofocus onfocus=alert(1)></form>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "</summary></details></section></main></body></html><script>alert(1)</script>",
    "</code></dd></dl></div></details><details id=d1 open>",
    "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "<template><script>alert(1)</script></template><slot>",
    "<plaintext>",
    "<xmp><script>alert(1)</script>",
    "<b class=mark>\\x1b</b><br>",
    '" onmouseover="alert(1)" x="',
    "' onmouseover='alert(1)' x='",
    "` onmouseover=`alert(1)` x=`",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" autofocus onfocus=alert(1) tabindex=0 x="',
    '"/><image href="https://evil.example/x.png"/>',
    "x onclick=alert(1)",
    "javascript:alert(1)",
    "#\" onclick='alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&#x3c;img src=x onerror=alert(1)&#x3e",
    "&quot; onmouseover=&quot;alert(1)",
    "&amp;lt;b&amp;gt;&nbsp;&NewLine;&Tab;",
    "{{ 7 * 7 }}{% for x in () %}{# x #}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "${alert(1)}#{7*7}<%= 7*7 %>",
    "{detections}{n}{0}{words.__class__}{!r}%s%n%(x)s",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\u001b$B<script>alert(1)</script>\u001b(B",
    "\0<script>alert(1)</script>\0",
    "<scr\0ipt>alert(1)</scr\0ipt>",
    "\ud83d<script>alert(1)</script>\udc00",
    "\ufeff<script>alert(1)</script>",
    "\u202e<script>alert(1)</script>\u2066\u2069",
    "\u2028alert(1)\u2029<img src=x onerror=alert(1)>",
    "\r\n\r\n<script>alert(1)</script>",
    "\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07<b>",
    "a\tb\x0cc\x85d\xa0e\xadf",
    "https://evil.example/?q=<script>alert(1)</script>",
    "data:text/html,<script>alert(1)</script>",
    "\\u003cscript\\u003ealert(1)\\x3c/script\\x3e",
    "__proto__",
    "constructor",
    "<" * 50 + '"' * 50 + "'" * 50 + "&" * 50,
)
TEXT_FIELDS = ("rule_id", "rule_title", "host", "account", "stream", "file")
PLACES = (*TEXT_FIELDS, "attack", "matched name", "matched value", "atoms", "summary")
OURS = {("b", "mark"), ("br", ""), ("i", "cut")}
"""Elements that mark what is not seen; they alone may be there or not, depending on the text."""

Shape: TypeAlias = Counter[tuple[object, ...]]
SUMMARY = Summary(files=1, events=9, rules_loaded=2, rules_fired=1)
PLAIN = "harmless"


def detection(kind: str = "rule", **given: Any) -> Detection:
    base: dict[str, Any] = dict.fromkeys(TEXT_FIELDS, PLAIN) | {"attack": (PLAIN,), "matched": {PLAIN: PLAIN}}
    return Detection(**base | {"time_us": 0, "level": "high", "record": 1, "atoms": (PLAIN,), "kind": kind} | given)


def hostile(place: str, payload: str, kind: str) -> tuple[Detection, Summary]:
    """A detection (and a summary) with the payload in one place."""
    summary = SUMMARY
    one = detection(kind)
    match place:
        case "attack" | "atoms":
            one = detection(kind, **{place: (payload,)})
        case "matched name":
            one = detection(kind, matched={payload: PLAIN})
        case "matched value":
            one = detection(kind, matched={PLAIN: payload})
        case "summary":
            summary = with_summary(payload)
        case _:
            one = detection(kind, **{place: payload})
    return one, summary if place == "summary" else with_summary(PLAIN)


def with_summary(text: str) -> Summary:
    return msgspec.structs.replace(
        SUMMARY,
        events_by_stream={text: 9},
        slowest=[Ranked(text, text, 1.0)],
        correlations_skipped=[text],
        correlation_losses={text + "!": 1},
    )


def written(found: list[Detection], summary: Summary, language: Language) -> str:
    stream = io.StringIO()
    write_report(stream, lambda: iter(found), summary, language)
    return stream.getvalue()


def shape(tree: Element) -> Shape:
    """Which elements there are, with which attributes; values where they are ours and fixed."""
    fixed = ("class", "id", "type", "name", "role", "for")
    return Counter(
        (each.tag, *sorted(each.attributes), *(each.attributes.get(name, "") for name in fixed))
        for each in tree.all()
        if (each.tag, each.attributes.get("class", "")) not in OURS
    )


def check_no_markup_from_data(html: str, reference: Shape) -> Element:
    """Fail if the page has an element or an attribute that the same page without a payload does not have."""
    tree = parsed(html)
    found = shape(tree)
    assert found == reference, (found - reference, reference - found)
    for each in tree.all():
        assert not [name for name in each.attributes if name.startswith("on") or name in ("style", "src", "action")]
        assert re.fullmatch(r"#[a-z]*\d*", each.attributes.get("href", "#")), each.attributes["href"]
    return tree


@pytest.fixture(scope="module")
def reference() -> dict[tuple[str, str], Shape]:
    """The shape of pages without a payload, by language and what they show."""
    shown = {"rule": detection(), "correlation": detection("correlation"), "no command": detection(file="\x01")}
    return {
        (language, name): shape(parsed(written([one], with_summary(PLAIN), language)))
        for language in ("en", "zh")
        for name, one in shown.items()
    }


IN_THE_COMMAND = ("file", "rule_id")
"""What stands in the command that shows more of a row; there is none where it could not be typed."""


def test_there_are_at_least_60_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60


@pytest.mark.parametrize("place", PLACES)
def test_no_payload_makes_markup_in_any_field(place: str, reference: dict[tuple[str, str], Shape]) -> None:
    for number, payload in enumerate(PAYLOADS):
        language: Language = "en" if number % 4 < 2 else "zh"
        kind = "correlation" if number % 2 and place not in IN_THE_COMMAND else "rule"
        one, summary = hostile(place, payload, kind)
        like = "no command" if place in IN_THE_COMMAND and visible(payload) != payload else kind
        tree = check_no_markup_from_data(written([one], summary, language), reference[language, like])
        assert visible(payload) in tree.one("body").text, (place, payload)


def test_the_style_the_script_and_the_policy_hold_nothing_from_data() -> None:
    clean = parsed(written([detection()], with_summary(PLAIN), "en"))
    everything = [hostile(place, payload, "rule")[0] for place in PLACES for payload in PAYLOADS]
    dirty = parsed(written(everything, with_summary(PAYLOADS[0]), "en"))
    for tag in ("style", "script", "title"):
        assert [each.text for each in dirty.all(tag) if each.parent is None or each.parent.tag != "g"] == [
            each.text for each in clean.all(tag) if each.parent is None or each.parent.tag != "g"
        ]
    assert [each.attributes for each in dirty.all("meta")] == [each.attributes for each in clean.all("meta")]


@pytest.mark.parametrize("payload", ["<img src=x onerror=alert(1)>", '" onclick="alert(1)" x="', "<!-- x -->"])
def test_the_check_sees_what_it_looks_for(payload: str, reference: dict[tuple[str, str], Shape]) -> None:
    """The check itself, on a page whose escaping was taken away."""
    html = written([detection(host="needle")], with_summary(PLAIN), "en").replace("needle", payload)
    with pytest.raises(AssertionError):
        check_no_markup_from_data(html, reference["en", "rule"])


# --- in a browser -----------------------------------------------------------------------------------------------------

WATCH = """
window.found = [];
window.alert = () => found.push("alert");
document.addEventListener("securitypolicyviolation", (event) => found.push(event.violatedDirective));
window.addEventListener("error", (event) => found.push(String(event.message)));
"""
CENSUS = """
() => ({
  found: window.found,
  tags: [...new Set([...document.querySelectorAll("*")].map((each) => each.localName))].sort(),
  handlers: [...document.querySelectorAll("*")].flatMap((each) => each.getAttributeNames())
    .filter((name) => name.startsWith("on") || name === "style" || name === "src"),
  links: [...document.links].map((each) => each.getAttribute("href")).filter((href) => !href.startsWith("#")),
  rows: document.querySelectorAll("details.detection").length,
  wide: document.documentElement.scrollWidth > window.innerWidth,
  text: document.body.textContent,
})
"""


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page for each language with every payload in every place."""
    folder = tmp_path_factory.mktemp("reports")
    everything = [
        hostile(place, payload, kind)[0]
        for place in PLACES
        for payload in PAYLOADS
        for kind in ("rule", "correlation")
        if place != "summary"
    ]
    pages: dict[str, Path] = {}
    for language in ("en", "zh"):
        pages[language] = folder / f"{language}.html"
        with pages[language].open("w", encoding="utf-8", newline="") as stream:
            write_report(stream, lambda: iter(everything), with_summary("\n".join(PAYLOADS)), language)
    return pages


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_finds_only_text_and_asks_for_nothing(
    browser: Any, hostile_pages: dict[str, Path], language: str, theme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    harmless = parsed(written([detection(), detection("correlation")], with_summary(PLAIN), "en"))
    tags = {each.tag for each in harmless.all()} | {tag for tag, _ in OURS}
    told: list[str] = []
    asked: list[str] = []
    tab = context.new_page()
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: asked.append(request.url))
    tab.add_init_script(WATCH)
    address = hostile_pages[language].as_uri()
    tab.goto(address)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    tab.fill("#filter-text", "alert")
    tab.select_option("#filter-order", "host")
    tab.click("#top [data-by=host]")
    tab.click("#filter-chips button")
    tab.click("#filter-clear")
    census = tab.evaluate(CENSUS)
    tab.mouse.move(300, 300)
    context.close()
    assert told == []
    assert asked == [address]
    assert (census["found"], census["handlers"], census["links"]) == ([], [], [])
    assert set(census["tags"]) <= tags
    assert census["rows"] > 1_000
    assert not census["wide"]
    assert [payload for payload in PAYLOADS if visible(payload) not in census["text"]] == []


@pytest.mark.slow
def test_even_a_mistake_in_escaping_could_run_nothing(browser: Any, tmp_path: Path) -> None:
    """The content policy stops what the escaping would have let through."""
    html = written([detection(host="needle")], with_summary(PLAIN), "en")
    mistake = "<script>alert(1)</script><img src=x onerror=alert(1)><p style='color:red'>x</p>"
    file = tmp_path / "mistake.html"
    file.write_text(html.replace("needle", mistake), encoding="utf-8", newline="")
    tab = browser.new_page()
    tab.add_init_script(WATCH)
    tab.goto(file.as_uri())
    found = tab.evaluate("() => window.found")
    tab.close()
    assert "alert" not in found
    assert {"script-src-elem", "style-src-attr", "img-src"} <= set(found)


@pytest.mark.slow
def test_without_its_script_a_link_opens_the_evidence(browser: Any, hostile_pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(hostile_pages["en"].as_uri() + "#d30")
    assert tab.is_visible("#d30 .facts")
    assert not tab.is_visible("#filter")
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_of_level_aa(browser: Any, hostile_pages: dict[str, Path], theme: str) -> None:
    """At least 4.5 for text and 3 for the marks of levels. Source: WCAG 2.2, 1.4.3 and 1.4.11."""
    context = browser.new_context(color_scheme=theme)
    tab = context.new_page()
    tab.goto(hostile_pages["en"].as_uri())
    names = [f"heat-{n}" for n in range(1, 5)] + ["paper", "raised", "ink", "soft", "mark-ink", "mark-paper"]
    names += ["warn-paper", "critical", "high", "medium", "low", "informational"]
    read = "(names) => { const style = getComputedStyle(document.documentElement);"
    read += " return Object.fromEntries(names.map((name) => [name, style.getPropertyValue('--' + name).trim()])) }"
    colours = {name: luminance(text) for name, text in tab.evaluate(read, names).items()}
    context.close()

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colours[one], colours[other]))
        return (high + 0.05) / (low + 0.05)

    pairs = [("ink", ground, 4.5) for ground in ("paper", "raised", "warn-paper", *(f"heat-{n}" for n in range(1, 5)))]
    pairs += [("soft", "paper", 4.5), ("soft", "raised", 4.5), ("mark-ink", "mark-paper", 4.5)]
    pairs += [(level, "paper", 3.0) for level in ("critical", "high", "medium", "low", "informational")]
    assert [(one, other, contrast(one, other)) for one, other, least in pairs if contrast(one, other) < least] == []
    lightness = [colours[level] for level in ("critical", "high", "medium", "low", "informational")]
    assert lightness == sorted(lightness, reverse=theme == "dark")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb. Source: WCAG 2.2, definition of relative luminance."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
