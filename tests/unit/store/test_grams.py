"""Grams: a text that is there is never denied, and most that are not are."""

import random

import pytest

from mingjian.store.grams import BITS_MAX, FILLED_MIN, Grams, hashes_asked, hashes_of, joined


def of(*texts: str) -> Grams:
    grams = Grams()
    grams.add("\n".join(texts).encode())
    return grams


@pytest.mark.parametrize("piece", ["whoami", "WHOAMI", "ami.ex", "\u212aelvin", "密码", "true"])
def test_a_piece_of_a_text_is_found_in_any_case(piece: str) -> None:
    assert of("C:\\WhoAmI.exe", "kelvin", "密码本").have(hashes_asked([piece])).all()


def test_a_piece_that_is_nowhere_is_denied() -> None:
    assert not of("C:\\Windows\\cmd.exe").have(hashes_asked(["mimikatz"])).all()


def test_texts_are_not_read_across_their_ends() -> None:
    assert not of("who", "ami").have(hashes_asked(["whoami"])).any()


def test_of_identifiers_and_short_pieces_nothing_is_known() -> None:
    assert len(hashes_asked(["4dc0-11ed.beef", "abc", "é", "+1.5e-07"])) == 0


def test_shrinking_denies_nothing_that_is_there_and_keeps_denying() -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("ghijklmnopqrstuvwxyz", k=12)) for _ in range(200)]
    grams = of(*words)
    before = len(grams.to_bytes())
    grams.shrink()
    again = Grams.from_bytes(grams.to_bytes())
    assert before == 1 << (BITS_MAX - 3)
    assert len(again.to_bytes()) < before // 16
    assert FILLED_MIN <= again.share_set() <= 2 * FILLED_MIN
    assert all(again.have(hashes_asked([word])).all() for word in words)
    strange = ["".join(chance.choices("ghijklmnopqrstuvwxyz", k=12)) for _ in range(200)]
    assert sum(again.have(hashes_asked([word])).all() for word in strange) < 3
    again.add(b"something else")
    assert again.have(hashes_asked(["SOMETHING ELSE", *words])).all()


def test_grams_of_several_pieces_are_told_apart() -> None:
    hashes, starts = joined([hashes_of(b"whoami"), hashes_of(b"hosts")])
    assert (len(hashes), starts.tolist()) == (5, [0, 3])
    assert joined([])[1].tolist() == []
