"""Words of ours in two languages (``data/vocabulary.yml``): roles, levels, behaviours, titles of our own rules."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.formats.bounded import parse_yaml
from mingjian.hunt.behaviourbook import RULE_PREFIX, title_of, told_again
from mingjian.model.detections import Detection
from mingjian.model.rules import Level
from mingjian.settings import Language

_ATOM: Final = re.compile(r"(?P<name>[a-z-]+) (?P<points>[+-]?[0-9]+) of (?P<max>-?[0-9]+) \((?P<value>[^()]*)\)")
_INDICATOR_KINDS: Final = {
    **{"ip": "地址", "domain": "域名", "url": "网址", "email": "邮箱地址", "hash": "散列值", "account": "账号"},
    **{"host": "主机", "certificate": "证书", "ja3": "JA3", "ja4": "JA4", "file": "文件", "package": "软件包"},
}


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    en: str
    zh: str


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in ``data/vocabulary.yml``."""

    roles: dict[str, str]
    levels: dict[Level, str]
    behaviours: dict[str, str]
    terms: dict[str, _Text]
    rules: dict[str, str]


@cache
def vocabulary() -> Vocabulary:
    """Read the packaged words. They are ours: a mistake in them is a defect."""
    file = DATA_FOLDER / "vocabulary.yml"
    return msgspec.convert(parse_yaml(file.read_bytes(), file=file.name)[0], Vocabulary)


def role_in(role: str, language: Language) -> str:
    """A role of an observable, or several with commas between them, as people say it.

    >>> role_in("query, source", "zh"), role_in("query", "en")
    ('查询、来源', 'query')
    """
    if language != "zh":
        return role
    return "、".join(vocabulary().roles.get(each, each) for each in role.split(", "))


def level_in(level: Level, language: Language) -> str:
    """A level of a rule or detection."""
    return vocabulary().levels[level] if language == "zh" else level


def behaviour_in(name: str, language: Language) -> str:
    """What a behaviour is called."""
    return vocabulary().behaviours.get(name, name) if language == "zh" else name


def kind_in(kind: str, language: Language) -> str:
    """A kind of observable, in the middle of a sentence."""
    return _INDICATOR_KINDS.get(kind, kind) if language == "zh" else kind


def term_in(atom: str, language: Language) -> str:
    """A term of a behaviour's score, as it is kept, in words.

    >>> term_in("few-others-have-it +20 of 20 (0)", "en"), term_in("volume +3 of 15 (2e+07)", "zh")
    ('few others have it: 20 of 20 points (0)', '数据量：3/15 分（2e+07）')
    """
    found = _ATOM.fullmatch(atom)
    text = None if found is None else vocabulary().terms.get(found["name"])
    if found is None or text is None:
        return atom
    points = int(found["points"])
    if language == "zh":
        return f"{text.zh}：{points}/{found['max']} 分（{found['value']}）"
    return f"{text.en}: {points} of {found['max']} points ({found['value']})"


def title_in(detection: Detection, language: Language) -> str:
    """What a detection is called: in Chinese where the words are ours, else as whoever wrote the rule calls it."""
    if detection.rule_id.startswith(RULE_PREFIX):
        if language == "zh" and detection.rule_id == f"{RULE_PREFIX}first-use":
            kind, _, rest = detection.matched.get("object", "").partition(" ")
            return title_of(
                "first-use", detection.matched.get("entity", ""), f"{kind_in(kind, language)} {rest}", language
            )
        return told_again(detection, language)
    if language == "zh" and detection.kind == "indicator":
        kind, _, rest = detection.rule_title.partition(" ")
        return f"{kind_in(kind, language)} {rest}"
    return vocabulary().rules.get(detection.rule_id, detection.rule_title) if language == "zh" else detection.rule_title
