"""Who asks, and about whose data: every public function of the store takes a ``Scope``.

What belongs to an organisation outside the scope does not exist for the caller: it is ``NotFound``, never “forbidden”.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NewType, TypeAlias

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


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which organisations may be read and written, and who does it.

    >>> member = Scope.of_member("ann", [OrganisationId(2)])
    >>> member.may_read(OrganisationId(2)), member.may_read(OrganisationId(3)), member.may_write(OrganisationId(2))
    (True, False, False)
    """

    actor: str
    """For the audit log: a user, a service, or ``operator``."""
    reads: Reach
    writes: Reach

    @classmethod
    def of_operator(cls) -> Scope:
        """The scope of whoever runs commands on the machine of the workspace: everything."""
        return cls(actor="operator", reads=EVERYONE, writes=EVERYONE)

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

    def check_read(self, organisation: OrganisationId, what: str = "organisation") -> None:
        """Go on only if this may be seen. Raises: NotFound."""
        if not self.may_read(organisation):
            raise NotFound(f"there is no such {what}")

    def check_write(self, organisation: OrganisationId, what: str = "organisation") -> None:
        """Go on only if this may be changed. Raises: NotFound if it may not even be seen, else NotPermitted."""
        self.check_read(organisation, what)
        if not self.may_write(organisation):
            raise NotPermitted(f"{self.actor} may see this {what}, but not change it")

    def readable(self) -> tuple[OrganisationId, ...] | None:
        """The organisations that may be seen, in order; None for every one: for the condition of a query."""
        return None if self.reads is EVERYONE else tuple(sorted(self.reads))
