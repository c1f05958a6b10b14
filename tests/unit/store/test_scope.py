"""Who may see and change what."""

from collections.abc import Iterable

import pytest

from mingjian.errors import NotFound, NotPermitted
from mingjian.store.scope import EVERYONE, Everyone, Membership, OrganisationId, Right, Role, Scope

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
    operator.check_administer(None)


def test_who_sees_something_does_not_see_the_rest() -> None:
    assert Scope.of_roles("nobody", ()).readable() == ()
    assert not Scope.of_roles("nobody", ()).may_read(ONE)


def reach(
    role: Role,
    where: OrganisationId | Everyone,
    rights: Iterable[Right] | None = None,
    within: frozenset[OrganisationId] | None = None,
) -> tuple[object, ...]:
    """How far somebody with a role reads, writes, administers and audits."""
    scope = Scope.of_roles("ann", [Membership(where, role)], rights=rights, within=within)
    return scope.reads, scope.writes, scope.administers, scope.audits


MINE = frozenset({ONE})
NONE: frozenset[OrganisationId] = frozenset()


@pytest.mark.parametrize(
    ("role", "reads", "writes", "administers", "audits"),
    [
        ("reader", True, False, False, False),
        ("analyst", True, True, False, False),
        ("administrator", True, True, True, True),
        ("auditor", True, False, False, True),
    ],
)
def test_a_role_allows_what_it_says_and_where_it_says(
    role: Role, reads: bool, writes: bool, administers: bool, audits: bool
) -> None:
    allowed = (reads, writes, administers, audits)
    assert reach(role, ONE) == tuple(MINE if each else NONE for each in allowed)
    assert reach(role, EVERYONE) == tuple(EVERYONE if each else NONE for each in allowed)


def test_a_scope_is_narrowed_down_and_never_widened() -> None:
    assert reach("administrator", ONE, rights=["read"]) == (MINE, NONE, NONE, NONE)
    assert reach("reader", ONE, rights=["read", "write", "administer", "audit"]) == (MINE, NONE, NONE, NONE)
    assert reach("analyst", EVERYONE, within=frozenset({TWO})) == (frozenset({TWO}), frozenset({TWO}), NONE, NONE)
    assert reach("analyst", ONE, within=frozenset({TWO})) == (NONE, NONE, NONE, NONE)
    assert reach("analyst", ONE, within=frozenset({ONE, TWO})) == (MINE, MINE, NONE, NONE)


def test_roles_in_several_organisations_do_not_mix() -> None:
    scope = Scope.of_roles("ann", [Membership(ONE, "administrator"), Membership(TWO, "reader")])
    scope.check_administer(ONE)
    with pytest.raises(NotPermitted, match="ann"):
        scope.check_administer(TWO)
    with pytest.raises(NotFound):
        scope.check_administer(THREE)


def test_what_belongs_to_all_is_managed_by_who_manages_all() -> None:
    Scope.of_roles("ada", [Membership(EVERYONE, "administrator")]).check_administer(None)
    for member in (Membership(ONE, "administrator"), Membership(EVERYONE, "analyst")):
        with pytest.raises(NotPermitted):
            Scope.of_roles("ann", [member]).check_administer(None)
