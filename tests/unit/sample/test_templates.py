"""Lines with holes."""

import json

from mingjian.sample.templates import hole, json_inner, json_text, number_hole, template_of


def test_a_filled_template_is_the_json_that_was_meant() -> None:
    template = template_of(json_text({"a": hole(1), "n": number_hole(0), "p": "100 % %s", "b": [hole(1), "x"]}))
    line = template.fill((42, json_inner('C:\\"quoted"')))
    assert json.loads(line) == {"a": 'C:\\"quoted"', "n": 42, "p": "100 % %s", "b": ['C:\\"quoted"', "x"]}


def test_a_template_with_one_hole_takes_one_value() -> None:
    template = template_of("only " + hole(2))
    assert template.fill(("a", "b", "c")) == "only c"


def test_what_is_not_ascii_stays_as_it_is() -> None:
    assert json_text({"k": "采购合同"}) == '{"k":"采购合同"}'
    assert json_inner("采购合同") == "采购合同"
    assert json.loads(f'"{json_inner(chr(10) + chr(9))}"') == "\n\t"
