import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakes import OPERATOR
from mingjian.errors import NotFound, StateError
from mingjian.store import idempotency
from mingjian.store.idempotency import Answered, answer_once
from mingjian.store.scope import NOBODY, Scope
from mingjian.store.workspace import Workspace

FIRST = Answered(201, b"first")


def test_what_was_done_is_answered_and_not_done_again(workspace: Workspace) -> None:
    done: list[int] = []

    def act() -> Answered:
        done.append(1)
        return FIRST

    assert [answer_once(workspace, OPERATOR, "k", "same", act) for _ in range(3)] == [FIRST] * 3
    assert len(done) == 1


def test_a_key_is_for_one_request_of_one_person(workspace: Workspace) -> None:
    answer_once(workspace, OPERATOR, "k", "one", lambda: FIRST)
    with pytest.raises(StateError, match="another request"):
        answer_once(workspace, OPERATOR, "k", "two", lambda: FIRST)
    other = Scope(actor="ann", reads=NOBODY, writes=NOBODY)
    assert answer_once(workspace, other, "k", "two", lambda: Answered(200, b"hers")).body == b"hers"


def test_an_error_is_not_remembered(workspace: Workspace) -> None:
    def fails() -> Answered:
        raise NotFound("nothing")

    with pytest.raises(NotFound):
        answer_once(workspace, OPERATOR, "k", "same", fails)
    assert answer_once(workspace, OPERATOR, "k", "same", lambda: FIRST) == FIRST


def test_of_many_at_the_same_time_one_does_it(workspace: Workspace) -> None:
    done: list[int] = []
    going = threading.Event()

    def act() -> Answered:
        done.append(1)
        going.wait(10)
        return FIRST

    def ask(_: int) -> str:
        try:
            return answer_once(workspace, OPERATOR, "k", "same", act).body.decode()
        except StateError:
            going.set()
            return "under way"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    assert len(done) == 1
    assert set(answers) == {"first", "under way"}


def test_what_was_cut_off_is_never_done_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed() -> Answered:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_once(workspace, OPERATOR, "k", "same", killed)
    for seconds, words in ((1, "under way"), (idempotency.UNDER_WAY_S + 1, "cut off")):
        later = workspace.clock_us() + seconds * 1_000_000
        with monkeypatch.context() as patch:
            patch.setattr(workspace, "clock_us", lambda later=later: later)
            with pytest.raises(StateError, match=words):
                answer_once(workspace, OPERATOR, "k", "same", lambda: FIRST)


def test_a_key_is_forgotten_after_a_day(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_once(workspace, OPERATOR, "k", "same", lambda: FIRST)
    later = workspace.clock_us() + (idempotency.KEPT_S + 1) * 1_000_000
    monkeypatch.setattr(workspace, "clock_us", lambda: later)
    assert answer_once(workspace, OPERATOR, "k", "other", lambda: Answered(200, b"new")).body == b"new"
