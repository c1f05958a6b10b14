"""Who may send to the HTTP intake."""

from pathlib import Path

import pytest

from mingjian.errors import ConfigError, StateError
from mingjian.sources.tokens import TOKENS_FILE, Token, add_token, hash_of, holder, read_tokens, remove_token


def test_a_token_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    secret = add_token(tmp_path, name="web", intake="app", organisation="ours")
    text = secret.reveal()
    kept = (tmp_path / TOKENS_FILE).read_text(encoding="utf-8")
    assert text not in kept
    assert str(secret) == "***"
    assert (tmp_path / TOKENS_FILE).stat().st_mode & 0o777 == 0o600
    assert read_tokens(tmp_path) == (Token(name="web", intake="app", organisation="ours", sha256=hash_of(text)),)


def test_only_the_right_token_has_a_holder(tmp_path: Path) -> None:
    texts = [add_token(tmp_path, name=name, intake="app", organisation=name).reveal() for name in ("a", "b", "c")]
    tokens = read_tokens(tmp_path)
    assert [found.name for text in texts if (found := holder(tokens, text))] == ["a", "b", "c"]
    for wrong in ("", texts[0][:-1], texts[0] + "x", tokens[0].sha256, "x" * 10_000, "\udc80"):
        assert holder(tokens, wrong) is None


def test_a_token_can_be_taken_away(tmp_path: Path) -> None:
    text = add_token(tmp_path, name="web", intake="app", organisation="ours").reveal()
    remove_token(tmp_path, "web")
    assert holder(read_tokens(tmp_path), text) is None
    with pytest.raises(StateError):
        remove_token(tmp_path, "web")


@pytest.mark.parametrize("name", ["", "Web", "a/b", "../x", "a" * 65, "-a", "名"])
def test_names_that_could_mean_something_else_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        add_token(tmp_path, name=name, intake="app", organisation="ours")
    with pytest.raises(ConfigError):
        add_token(tmp_path, name="web", intake=name, organisation="ours")


def test_two_tokens_cannot_have_one_name(tmp_path: Path) -> None:
    add_token(tmp_path, name="web", intake="app", organisation="ours")
    with pytest.raises(StateError):
        add_token(tmp_path, name="web", intake="other", organisation="ours")


@pytest.mark.parametrize("content", ["", "{}", "[{}]", '[{"name": 1}]', "[" * 100_000])
def test_a_file_of_tokens_that_is_broken_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / TOKENS_FILE).write_text(content, encoding="utf-8")
    (tmp_path / TOKENS_FILE).chmod(0o600)
    with pytest.raises(ConfigError):
        read_tokens(tmp_path)


def test_a_file_of_tokens_that_others_may_write_is_refused(tmp_path: Path) -> None:
    add_token(tmp_path, name="web", intake="app", organisation="ours")
    (tmp_path / TOKENS_FILE).chmod(0o666)
    with pytest.raises(ConfigError, match="others may write"):
        read_tokens(tmp_path)
