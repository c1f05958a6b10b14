"""Words of ours in two languages: complete, and used where a card or a story is told."""

import re
from pathlib import Path

import pytest

from mingjian.data import DATA_FOLDER
from mingjian.detect import behaviours
from mingjian.formats.bounded import parse_yaml
from mingjian.hunt.behaviourbook import built_in_facts
from mingjian.hunt.vocabulary import behaviour_in, role_in, term_in, title_in, vocabulary
from mingjian.model.detections import Detection
from mingjian.sources.definitions import load_sources

CHINESE = re.compile("[\u4e00-\u9fff]")


def found(rule_id: str, title: str, kind: str = "rule", **matched: str) -> Detection:
    return Detection(
        **{"time_us": 0, "level": "high", "rule_id": rule_id, "rule_title": title, "stream": "s", "file": "f"},  # type: ignore[arg-type]  # a part of it
        record=1,
        kind=kind,  # type: ignore[arg-type]  # one of the kinds
        matched=matched,
    )


def test_every_role_has_a_word() -> None:
    roles = {each.role for stream in load_sources().streams() for each in stream.observables}
    assert roles <= vocabulary().roles.keys()
    assert all(CHINESE.search(role_in(role, "zh")) for role in roles)
    assert role_in("query, no-such", "zh") == "查询、no-such"
    assert role_in("query, source", "en") == "query, source"


def test_every_behaviour_and_every_term_has_words() -> None:
    assert set(built_in_facts().told) <= vocabulary().behaviours.keys()
    assert CHINESE.search(behaviour_in("beaconing", "zh"))
    folder = Path(behaviours.__file__).parent
    texts = [path.read_text("utf-8") for path in folder.glob("*.py")]
    used = {name for text in texts for name in re.findall(r'\.add\(\s*"([a-z-]+)"', text)}
    assert len(used) > 40
    assert used <= vocabulary().terms.keys()


def test_every_rule_of_ours_has_a_chinese_title() -> None:
    ids = set()
    for path in sorted((DATA_FOLDER / "rules").rglob("*.yml")):
        ids |= {str(document["id"]) for document in parse_yaml(path.read_bytes(), file=path.name) if "id" in document}  # type: ignore[index,operator]  # rules are mappings
    assert ids == vocabulary().rules.keys()
    assert all(CHINESE.search(title) for title in vocabulary().rules.values())


def test_titles_of_others_stay_as_they_are() -> None:
    own = next(iter(vocabulary().rules))
    assert title_in(found(own, "Title"), "en") == "Title"
    assert title_in(found(own, "Title"), "zh") == vocabulary().rules[own]
    assert title_in(found("other", "Title"), "zh") == "Title"
    indicator = found("domain:a.example", "domain a.example: what they say", "indicator")
    assert title_in(indicator, "zh") == "域名 a.example: what they say"
    first = found("behaviour:first-use", "…", "behaviour", entity="pc-1", object="file c:/a.exe")
    assert title_in(first, "zh") == "pc-1 首次出现从未有过的：文件 c:/a.exe"
    assert "file c:" in title_in(first, "en")


@pytest.mark.parametrize("atom", ["", "volume", "no-such +1 of 2 (0)", "volume +1 of 2 (0) more"])
def test_what_is_no_term_stays_as_it_is(atom: str) -> None:
    assert term_in(atom, "zh") == atom
