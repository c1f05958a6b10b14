"""Answers that may be a little old: nobody waits for what is only a little too old, or gets what is much too old."""

import threading

from mingjian.console.site import LATE_FACTOR, Memory


class Clock:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_a_little_too_old_is_given_and_found_out_anew_meanwhile() -> None:
    clock, answers, renewed = Clock(), iter(range(9)), threading.Event()
    memory = Memory(clock)

    def compute() -> int:
        answer = next(answers)
        if answer:
            renewed.set()
        return answer

    assert memory.recall_lately(("a",), 5.0, compute) == 0
    clock.now_s = 4.0
    assert memory.recall_lately(("a",), 5.0, compute) == 0
    clock.now_s = 6.0
    assert memory.recall_lately(("a",), 5.0, compute) == 0
    assert renewed.wait(30)
    for thread in threading.enumerate():
        if thread.name == "renewing":
            thread.join(30)
    assert memory.recall_lately(("a",), 5.0, compute) == 1


def test_what_is_much_too_old_is_not_given() -> None:
    clock, answers = Clock(), iter(range(9))
    memory = Memory(clock)
    assert memory.recall_lately(("a",), 5.0, lambda: next(answers)) == 0
    clock.now_s = 5.0 * LATE_FACTOR + 1
    assert memory.recall_lately(("a",), 5.0, lambda: next(answers)) == 1
