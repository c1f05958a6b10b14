"""Rules written on the command line."""

import pytest

from mingjian.errors import ConfigError
from mingjian.hunt.expressions import rule_of
from mingjian.model.rules import ANY, And, Cidr, Compare, Exists, LogSource, Text


@pytest.mark.parametrize(
    ("expression", "condition"),
    [
        ("User=bob", Text("User", ("bob",))),
        ("Image|endswith=\\cmd.exe", Text("Image", (ANY, "\\cmd.exe"))),
        ("CommandLine|contains=a=b", Text("CommandLine", (ANY, "a=b", ANY))),
        ("src_ip|cidr=10.0.0.0/8", Cidr("src_ip", "10.0.0.0/8")),
        ("EventID=4688", Text("EventID", ("4688",))),
        ("size|gte=5", Compare("size", "gte", 5)),
        ("Hash|exists=true", Exists("Hash")),
        ("Image=*\\a?.exe", Text("Image", (ANY, "\\a", 1, ".exe"))),
        ("mimikatz", Text(None, (ANY, "mimikatz", ANY))),
    ],
)
def test_an_expression_means_what_a_rule_would(expression: str, condition: object) -> None:
    rule = rule_of([expression])
    assert rule.condition == condition
    assert rule.logsource == LogSource()
    assert rule.title == expression


def test_several_expressions_have_to_be_true_together() -> None:
    condition = rule_of(["a=1", "b=2", "c"]).condition
    assert isinstance(condition, And)
    assert len(condition.items) == 3


@pytest.mark.parametrize("expression", ["", "  ", "=x", "a|nonsense=1", "a|re=(", "a|cidr=x"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ConfigError):
        rule_of([expression])
