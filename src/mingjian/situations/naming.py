"""One host or account under two names: with its domain and without it.

Some logs call a host ``ws-07``, others ``ws-07.corp.example``: two observables. They are told together where the data
shows that they are one: in that organisation the name without a domain can be completed in one way only, by a domain
that hosts of the organisation report themselves with. So it is with an account and its domain: it must be the only one
of that name in the organisation, or at least on the hosts on which the one without a domain was seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.store.scope import OrganisationId
from mingjian.store.sightings.answers import Totals
from mingjian.store.sightings.companions import companions, companions_of_each
from mingjian.store.sightings.index import SightingsIndex

OWNERS_MAX: Final = 32
"""In so many organisations it is looked what an account is called …"""
HOSTS_MAX: Final = 8
"""… and on so many hosts of each, those with most of its events."""
SAME_NAME_MAX: Final = 1_000
"""So many accounts of the same name, counted in each organisation, are told apart."""


class OtherName(NamedTuple):
    """Another name of the same host, in one organisation."""

    value: str
    organisation: OrganisationId
    totals: Totals
    written: tuple[str, ...] = ()
    """How events spell it, if that is known."""


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


class OtherAccounts(NamedTuple):
    """The other names of an account, and what could not be decided."""

    found: list[OtherName]
    are_several: bool
    """Whether more than one account could be meant by the name without a domain that was asked for."""
    apart: int
    """How often the name occurs without its domain where nothing shows whose it is."""


def other_accounts(index: SightingsIndex, value: str, owners: Iterable[OrganisationId]) -> OtherAccounts:
    """The other name of an account in some organisations."""
    login = value.rpartition("\\")[2]
    found: list[OtherName] = []
    are_several, apart = False, 0
    asked = list(islice(owners, OWNERS_MAX))
    alike = _alike(index, login, asked)
    for owner in asked:
        short = index.totals("account", login, organisations=[owner])
        if short is None:
            continue
        full = _completions(index, login, owner, alike)
        if value == login:
            are_several |= len(full) > 1
            for name, written in full.items() if len(full) == 1 else ():
                totals = index.totals("account", name, organisations=[owner])
                if totals is not None:
                    found.append(OtherName(name, owner, totals, tuple(sorted(written))))
        elif list(full) == [value]:
            found.append(OtherName(login, owner, short, (login,)))
        elif value in full or not full:
            apart += short.count
    return OtherAccounts(found, are_several, apart)


def _alike(index: SightingsIndex, login: str, owners: list[OrganisationId]) -> dict[int, set[str]] | None:
    """The accounts of a name with a domain, by organisation; None if there are too many."""
    if not owners:
        return {}
    answer = index.lookup_account_name(login, organisations=owners, values_max=SAME_NAME_MAX)
    found: dict[int, set[str]] = defaultdict(set)
    columns = (answer.totals.column(name).to_pylist() for name in ("organisation", "value"))
    for owner, name in zip(*columns, strict=True):
        if "\\" in name:
            found[owner].add(name)
    return found if answer.is_complete else None


def _completions(
    index: SightingsIndex, login: str, owner: OrganisationId, alike: Mapping[int, Collection[str]] | None
) -> dict[str, set[str]]:
    """The accounts with a domain that one without may be, as they are written.

    If there is only one of that name, it is that; else those on the hosts on which the one without was seen.
    """
    if alike is not None and len(alike.get(owner, ())) <= 1:
        return {
            name: _spellings(name, companions(index, "account", name, organisations=[owner]).accounts)
            for name in alike.get(owner, ())
        }
    there = companions(index, "account", login, organisations=[owner])
    names = (canonical("host", host) for host in list(there.hosts)[:HOSTS_MAX])
    hosts: list[tuple[ObservableKind, str]] = [("host", name) for name in names if name is not None]
    found: dict[str, set[str]] = {}
    for each in companions_of_each(index, hosts, organisations=[owner]) if hosts else ():
        for written in each.accounts:
            name = canonical("account", written)
            if name is not None and "\\" in name and name.rpartition("\\")[2] == login:
                found.setdefault(name, set()).add(written)
    return found


def _spellings(name: str, accounts: Iterable[str]) -> set[str]:
    return {written for written in accounts if canonical("account", written) == name}


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()
