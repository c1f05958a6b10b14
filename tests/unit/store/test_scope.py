"""Who may see and change what."""

import pytest

from mingjian.errors import NotFound, NotPermitted
from mingjian.store.scope import OrganisationId, Scope

ONE, TWO, THREE = map(OrganisationId, (1, 2, 3))
MEMBER = Scope.of_member("ann", [ONE], [TWO])


def test_what_may_not_be_seen_is_not_found() -> None:
    with pytest.raises(NotFound):
        MEMBER.check_read(THREE)
    with pytest.raises(NotFound):
        MEMBER.check_write(THREE)


def test_what_may_be_seen_may_not_therefore_be_changed() -> None:
    MEMBER.check_read(ONE)
    with pytest.raises(NotPermitted, match="ann"):
        MEMBER.check_write(ONE)


def test_what_may_be_changed_may_be_seen() -> None:
    MEMBER.check_write(TWO)
    assert MEMBER.readable() == (ONE, TWO)


def test_the_operator_may_do_everything() -> None:
    operator = Scope.of_operator()
    operator.check_write(THREE)
    assert operator.readable() is None
