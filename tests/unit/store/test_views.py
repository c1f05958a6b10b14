"""Saved views: one's own, those of an organisation, and nobody else's."""

import pytest

from lakes import OPERATOR
from mingjian.errors import NotFound, NotPermitted, SchemaError
from mingjian.store import views
from mingjian.store.audit import acts
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import Membership, Scope
from mingjian.store.views import remove_view, save_view, views_of
from mingjian.store.workspace import Workspace


def test_a_view_is_ones_own_and_the_last_of_its_name_counts(workspace: Workspace) -> None:
    ann, bo = Scope.of_member("ann", []), Scope.of_member("bo", [])
    save_view(workspace, ann, "detections", "Mine ", "q=a")
    save_view(workspace, ann, "detections", "Mine", "q=b")
    assert [(each.name, each.query, each.is_own) for each in views_of(workspace, ann, "detections")] == [
        ("Mine", "q=b", True)
    ]
    assert views_of(workspace, ann, "situations") == []
    assert views_of(workspace, bo, "detections") == []


def test_a_shared_view_is_for_those_who_see_the_organisation(workspace: Workspace) -> None:
    ours = organisation_named(workspace, OPERATOR, "ours", make=True).id
    theirs = organisation_named(workspace, OPERATOR, "theirs", make=True).id
    ann = Scope.of_roles("ann", [Membership(ours, "analyst")])
    reader = Scope.of_roles("bo", [Membership(ours, "reader")])
    stranger = Scope.of_roles("eve", [Membership(theirs, "administrator")])
    administrator = Scope.of_roles("ada", [Membership(ours, "administrator")])
    key = save_view(workspace, ann, "detections", "Ours", "q=a", organisation=ours)
    assert [each.is_own for each in views_of(workspace, reader, "detections")] == [False]
    assert views_of(workspace, stranger, "detections") == []
    with pytest.raises(NotPermitted):
        save_view(workspace, reader, "detections", "For all", "", organisation=ours)
    with pytest.raises(NotFound):
        save_view(workspace, stranger, "detections", "For all", "", organisation=ours)
    with pytest.raises(NotPermitted):
        remove_view(workspace, reader, key)
    with pytest.raises(NotFound):
        remove_view(workspace, stranger, key)
    remove_view(workspace, administrator, key)
    assert views_of(workspace, ann, "detections") == []
    with pytest.raises(NotFound):
        remove_view(workspace, ann, key)


def test_a_view_is_bounded_and_on_record(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SchemaError):
        save_view(workspace, OPERATOR, "detections", "  ", "")
    with pytest.raises(SchemaError, match="QUERY_CHARACTERS_MAX"):
        save_view(workspace, OPERATOR, "detections", "a", "q" * 5_000)
    monkeypatch.setattr(views, "VIEWS_MAX", 1)
    key = save_view(workspace, OPERATOR, "detections", "a", "")
    with pytest.raises(SchemaError, match="VIEWS_MAX"):
        save_view(workspace, OPERATOR, "detections", "b", "")
    remove_view(workspace, OPERATOR, key)
    assert [each.what for each in acts(workspace, OPERATOR, what="view")] == ["view.removed", "view.saved"]
