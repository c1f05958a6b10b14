"""One host under two names: with its domain and without it.

Some logs call a host ``ws-07``, others ``ws-07.corp.example``: two observables. They are told together where the data
shows that they are one: in that organisation the name without a domain can be completed in one way only, by a domain
that hosts of the organisation report themselves with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from mingjian.model.observables import canonical
from mingjian.store.scope import OrganisationId
from mingjian.store.sightings.answers import Totals
from mingjian.store.sightings.index import SightingsIndex


class OtherName(NamedTuple):
    """Another name of the same host, in one organisation."""

    value: str
    organisation: OrganisationId
    totals: Totals


def label_of(name: str) -> str:
    """The name of a host without its domain, folded; an address as it is.

    >>> label_of("WS-07.corp.example"), label_of("10.0.0.9"), label_of("2001:db8::9")
    ('ws-07', '10.0.0.9', '2001:db8::9')
    """
    return name.casefold() if _is_address(name) else name.partition(".")[0].casefold()


def other_names(
    index: SightingsIndex,
    value: str,
    owners: Iterable[OrganisationId],
    domains: Mapping[OrganisationId, Collection[str]],
) -> tuple[list[OtherName], bool]:
    """The other names under which a host was seen in some organisations; and whether some could not be decided.

    ``domains``: of each organisation those that its hosts are in.
    """
    if _is_address(value):
        return [], False
    label = label_of(value)
    found: list[OtherName] = []
    undecided = False
    for owner in owners:
        full: dict[str, Totals] = {}
        for domain in domains.get(owner, ()):
            name = canonical("host", f"{label}.{domain}")
            totals = None if name is None else index.totals("host", name, organisations=[owner])
            if name is not None and totals is not None:
                full[name] = totals
        if "." not in value:
            undecided |= len(full) > 1
            found += [OtherName(name, owner, totals) for name, totals in full.items() if len(full) == 1]
        elif list(full) == [value]:
            totals = index.totals("host", label, organisations=[owner])
            if totals is not None:
                found.append(OtherName(label, owner, totals))
    return found, undecided


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()
