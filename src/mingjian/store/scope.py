"""Who asks, and about whose data: every public function of the store takes a ``Scope``.

What belongs to an organisation outside the scope does not exist for the caller: it is ``NotFound``, never “forbidden”.
"""

from __future__ import annotations

import enum
import os
import pwd
from collections.abc import Iterable
from functools import cache
from typing import Final, Literal, NewType, TypeAlias

import msgspec

from mingjian.errors import NotFound, NotPermitted

OrganisationId = NewType("OrganisationId", int)
"""Number of an organisation in the catalogue. What people and file names see is its ``public_id``."""


class Everyone(enum.Enum):
    """The type of ``EVERYONE``."""

    EVERYONE = "everyone"


EVERYONE: Final = Everyone.EVERYONE
"""Every organisation there is, and every one that will be."""

Reach: TypeAlias = "frozenset[OrganisationId] | Everyone"
Role: TypeAlias = Literal["reader", "analyst", "administrator", "auditor"]
Right: TypeAlias = Literal["read", "write", "administer", "audit"]
OPERATOR: Final = "operator"
"""No account can have a name with a colon."""
NOBODY: Final[frozenset[OrganisationId]] = frozenset()

RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    "reader": frozenset({"read"}),
    "analyst": frozenset({"read", "write"}),
    "administrator": frozenset({"read", "write", "administer", "audit"}),
    "auditor": frozenset({"read", "audit"}),
}
"""What each role may do, in the organisation in which somebody has it. There is no other place that says so."""


@cache
def operating_user() -> str:
    """Whom the machine takes the one for who started this process."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


class Membership(msgspec.Struct, frozen=True):
    """The role that somebody has in an organisation, or in all of them (``EVERYONE``)."""

    organisation: OrganisationId | Everyone
    role: Role


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which organisations may be read, written, administered and audited, and who does it.

    >>> member = Scope.of_member("ann", [OrganisationId(2)])
    >>> member.may_read(OrganisationId(2)), member.may_read(OrganisationId(3)), member.may_write(OrganisationId(2))
    (True, False, False)
    """

    actor: str
    """For the audit log: the name of a user, or ``operator:`` and that of a user of the machine."""
    reads: Reach
    writes: Reach
    administers: Reach = NOBODY
    """Whose accounts, settings and jobs may be managed."""
    audits: Reach = NOBODY
    """Whose acts in the audit log may be read."""
    user_id: int | None = None
    """The account, if it is a user's."""
    via: str = ""
    """How the actor came in, for the audit log: ``session …``, ``token …``, ``command line``."""

    @classmethod
    def of_operator(cls) -> Scope:
        """The scope of whoever runs commands on the machine of the workspace: everything."""
        return cls(
            actor=f"{OPERATOR}:{operating_user()}",
            reads=EVERYONE,
            writes=EVERYONE,
            administers=EVERYONE,
            audits=EVERYONE,
            via="command line",
        )

    @classmethod
    def of_roles(
        cls,
        actor: str,
        memberships: Iterable[Membership],
        *,
        user_id: int | None = None,
        via: str = "",
        rights: Iterable[Right] | None = None,
        within: frozenset[OrganisationId] | None = None,
    ) -> Scope:
        """The scope of a user: what the roles allow; ``rights`` and ``within`` narrow it down, as for an API token.

        >>> scope = Scope.of_roles("ann", [Membership(OrganisationId(1), "analyst"), Membership(EVERYONE, "reader")])
        >>> scope.may_read(OrganisationId(7)), scope.may_write(OrganisationId(7)), scope.may_write(OrganisationId(1))
        (True, False, True)
        """
        held = list(memberships)
        kept = frozenset(RIGHTS["administrator"] if rights is None else rights)

        def reach(right: Right) -> Reach:
            places = [each.organisation for each in held if right in RIGHTS[each.role] and right in kept]
            if any(place is EVERYONE for place in places):
                return EVERYONE if within is None else within
            named = frozenset(place for place in places if place is not EVERYONE)
            return named if within is None else named & within

        return cls(
            actor=actor,
            reads=reach("read"),
            writes=reach("write"),
            administers=reach("administer"),
            audits=reach("audit"),
            user_id=user_id,
            via=via,
        )

    @classmethod
    def of_member(cls, actor: str, reads: Iterable[OrganisationId], writes: Iterable[OrganisationId] = ()) -> Scope:
        """The scope of somebody who may see some organisations. What may be written may be read."""
        written = frozenset(writes)
        return cls(actor=actor, reads=frozenset(reads) | written, writes=written)

    def may_read(self, organisation: OrganisationId) -> bool:
        """Whether what belongs to an organisation may be seen."""
        return self.reads is EVERYONE or organisation in self.reads

    def may_write(self, organisation: OrganisationId) -> bool:
        """Whether what belongs to an organisation may be added to or changed."""
        return self.writes is EVERYONE or organisation in self.writes

    def may_administer(self, organisation: OrganisationId | None) -> bool:
        """Whether what belongs to an organisation may be managed; without one, what belongs to all of them."""
        return self.administers is EVERYONE or (organisation is not None and organisation in self.administers)

    def check_read(self, organisation: OrganisationId, what: str = "organisation") -> None:
        """Go on only if this may be seen. Raises: NotFound."""
        if not self.may_read(organisation):
            raise NotFound(f"there is no such {what}")

    def check_write(self, organisation: OrganisationId, what: str = "organisation") -> None:
        """Go on only if this may be changed. Raises: NotFound if it may not even be seen, else NotPermitted."""
        self.check_read(organisation, what)
        if not self.may_write(organisation):
            raise NotPermitted(f"{self.actor} may see this {what}, but not change it")

    def check_administer(self, organisation: OrganisationId | None, what: str = "organisation") -> None:
        """Go on only if this may be managed. Raises: NotFound if it may not even be seen, else NotPermitted."""
        if organisation is not None:
            self.check_read(organisation, what)
        if not self.may_administer(organisation):
            raise NotPermitted(f"{self.actor} may not administer this {what}")

    def readable(self) -> tuple[OrganisationId, ...] | None:
        """The organisations that may be seen, in order; None for every one: for the condition of a query."""
        return None if self.reads is EVERYONE else tuple(sorted(self.reads))
