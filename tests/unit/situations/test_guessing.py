import pytest

from mingjian.situations.guessing import guesses


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("192.0.2.1", ("ip", "192.0.2.1")),
        ("192.0.2[.]1", ("ip", "192.0.2.1")),
        ("2001:DB8::1", ("ip", "2001:db8::1")),
        ("hxxp://Evil[.]example/a", ("url", "http://evil.example/a")),
        ("Bob@Corp.Example", ("email", "bob@corp.example")),
        ("A" * 64, ("hash", "a" * 64)),
        ("evil.example", ("domain", "evil.example")),
        ("CORP\\Bob", ("account", "corp\\bob")),
        ("C:\\Temp\\a.exe", ("file", "c:\\temp\\a.exe")),
        ("/opt/x", ("file", "/opt/x")),
        ("PC-1", ("host", "pc-1")),
        ("S-1-5-21-1-2-3-500", ("account", "S-1-5-21-1-2-3-500")),
    ],
)
def test_the_likeliest_kind_comes_first(text: str, first: tuple[str, str]) -> None:
    assert guesses(text)[0] == first


def test_nothing_is_nothing() -> None:
    assert guesses("") == guesses(" - ") == []
