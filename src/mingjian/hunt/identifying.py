"""Which input a content is: one that came in before, how far that one has come, or a new one.

A content is the same input as one that is known if everything up to the place that was committed is the same, by its
digest; name, place and compression do not matter. What lies behind that place is new. A shorter copy is known, too, if
it ends where the input was once committed. A content whose old part has changed is a new input.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from mingjian.sources.contents import FORMER_DIGEST_BYTES, Tracker, content_digests, digest_of, digests_up_to
from mingjian.store.catalogue import (
    HEAD_BYTES,
    KnownInput,
    committed_offsets,
    digests_of_length,
    inputs_committed_at,
    known_inputs,
)
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

NEW: Final = None


class Verdict(NamedTuple):
    """What a content is."""

    known: KnownInput | None
    """The input that it is; None if it is new. (One of which nothing is in the store yet may be given, too.)"""
    is_shorter: bool = False
    """It ends before the place up to which the input is in the store."""
    is_here: bool = True
    """The tracker stands where the new part begins. Else the content has to be gone through anew."""


def candidates(
    workspace: Workspace, scope: Scope, organisation: OrganisationId, head: bytes, short_heads: Collection[int]
) -> list[KnownInput]:
    """The inputs that a content may be that begins with these bytes (``HEAD_BYTES`` of them, if there are so many).

    ``short_heads``: the lengths of all heads of the organisation that are shorter, and perhaps others.
    """
    digests = {digest_of(head): len(head)} | digests_up_to(head, short_heads)
    known = known_inputs(workspace, scope, organisation, digests)
    # A whole head is looked up as it is: what it is part of may be known by more of it.
    found = {each.id: each for each in known if digests[each.head_digest] in (each.head_bytes, len(head))}
    if len(head) < HEAD_BYTES:
        several = inputs_committed_at(workspace, scope, organisation, len(head), content_digests(head))
        found |= {each.id: each for each in several}
    return list(found.values())


def verdict_on(workspace: Workspace, scope: Scope, several: Sequence[KnownInput], tracker: Tracker) -> Verdict:
    """Compare a content, from its beginning, with the inputs that it may be.

    Reads as much of it as is needed to be sure. Raises: OSError.
    """
    matched: KnownInput | None = None
    begun = sorted((each for each in several if each.offset), key=lambda each: (each.offset, -each.id))
    if begun and digests_of_length(workspace, scope, [each.id for each in begun], FORMER_DIGEST_BYTES):
        tracker.digest_formerly_too()
    for each in begun:
        tracker.pass_over(each.offset)
        if tracker.offset < each.offset:
            break
        if each.digest is not None and tracker.has(each.digest):
            matched = each
    if matched is not None and matched.offset == tracker.offset:
        return Verdict(matched)
    longer = [each for each in begun if each.offset > tracker.offset]
    for each in longer:
        ends = committed_offsets(workspace, scope, each.id)
        if any(end.offset == tracker.offset and tracker.has(end.digest) for end in ends):
            return Verdict(each, is_shorter=True)
    if matched is not None:
        return Verdict(matched, is_here=False)
    untouched = next((each for each in several if not each.offset), None)
    return Verdict(untouched, is_here=tracker.offset == 0)
