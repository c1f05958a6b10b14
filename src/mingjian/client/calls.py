"""Every operation of the API as a method."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, Literal, TypeVar

import msgspec

from mingjian.client import values as v
from mingjian.client.transport import Parameters, Transport, lines
from mingjian.errors import DeliveryError, MingjianError

JSON_LINES: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
PAGE_ROWS: Final = 500

T = TypeVar("T")


class _Page(msgspec.Struct, frozen=True):
    items: msgspec.Raw
    next: str | None


class _Items(msgspec.Struct, frozen=True):
    items: msgspec.Raw


class _Made(msgspec.Struct, frozen=True):
    id: str


class Rows:
    """An export: records as they come, and whether all of them came."""

    def __init__(self, transport: Transport, path: str, parameters: Parameters) -> None:
        self.expected = 0
        """So many rows the server announced; known when the first one is there."""
        self.received = 0
        self._transport = transport
        self._path = path
        self._parameters = parameters

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through all of them. Raises: DeliveryError if some are missing at the end."""
        chunks = self._transport.download(self._path, self._parameters, self._announced)
        for line in lines(chunks):
            self.received += 1
            yield msgspec.json.decode(line)
        if self.received != self.expected:
            raise DeliveryError(f"{self.received} of {self.expected} rows came", may_retry=True)

    def _announced(self, rows: int) -> None:
        self.expected, self.received = rows, 0


class Client:
    """The API of one server, as one account. Not for several threads at once.

    Lists are iterators that fetch page after page; ``filters`` are those of the list, as the console's addresses have
    them. Errors are those of ``mingjian.errors``, as the server names them; ``DeliveryError`` if it cannot be reached.
    """

    def __init__(self, address: str, token: str, *, timeout_s: float = 60.0, tls: ssl.SSLContext | None = None) -> None:
        """``address``: for example ``https://mingjian.example``. Raises: ConfigError."""
        self._transport = Transport(address, token, timeout_s=timeout_s, tls=tls)

    def __enter__(self) -> Client:
        """Use it as a context manager, and it is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back. May be repeated."""
        self._transport.close()

    # --- how all of them are sent

    def _get(self, kind: type[T], path: str, /, **parameters: object) -> T:
        answer = self._transport.call("GET", path, parameters)
        return _decoded(answer.body, kind)

    def _post(self, kind: type[T], path: str, body: object = None, /, **parameters: object) -> T:
        return _decoded(self._transport.call("POST", path, parameters, body).body, kind)

    def _delete(self, kind: type[T], path: str, /, **parameters: object) -> T:
        return _decoded(self._transport.call("DELETE", path, parameters).body, kind)

    def _listed(self, kind: type[T], name: str, filters: Parameters) -> Iterator[T]:
        after: str | None = ""
        while after is not None:
            page = self._get(_Page, f"/{name}", limit=PAGE_ROWS, after=after, **filters)
            yield from _decoded(bytes(page.items), list[kind])  # type: ignore[valid-type]  # the type of the items
            after = page.next

    # --- organisations, detections, records

    def organisations(self) -> list[v.Organisation]:
        """The organisations that may be seen."""
        return _decoded(bytes(self._get(_Items, "/organisations").items), list[v.Organisation])

    def detections(self, **filters: object) -> Iterator[v.DetectionItem]:
        """Detections, the newest first unless ``sort`` says otherwise."""
        return self._listed(v.DetectionItem, "detections", filters)

    def detection(self, id: str) -> v.Detection:
        """One detection with what it matched."""
        return self._get(v.Detection, f"/detections/{id}")

    def judge(
        self, detections: Sequence[str], resolution: v.Resolution, *, state: v.State = "closed", reason: str = ""
    ) -> None:
        """Say of detections (ids) what they are."""
        body = {"detections": list(detections), "state": state, "resolution": resolution, "reason": reason}
        self._post(dict[str, Any], "/detections/verdict", body)

    def records(self, file: str, number: int, *, org: str = "") -> list[v.RawRecord]:
        """The raw records to which a pointer points."""
        found = self._get(_Items, "/records", file=file, number=number, org=org)
        return _decoded(bytes(found.items), list[v.RawRecord])

    # --- questions

    def ask(self, observable: str, *, kind: str = "", org: str = "") -> dict[str, Any]:
        """The verdict card: who it is, friend or foe, what it did, what could not be seen."""
        return self._get(dict[str, Any], "/ask", q=observable, kind=kind, org=org)

    def sightings(self, observable: str, *, kind: str = "", org: str = "") -> v.Sightings:
        """Where and when something was seen."""
        return self._get(v.Sightings, "/sightings", q=observable, kind=kind, org=org)

    def coverage(self, *, org: str = "") -> v.Coverage:
        """Over which time history reaches, and how much of it could not be seen."""
        return self._get(v.Coverage, "/coverage", org=org)

    def sources(self, **filters: object) -> Iterator[v.Item]:
        """What comes in, stream by stream."""
        return self._listed(v.Item, "sources", filters)

    def blind_spots(self, **filters: object) -> Iterator[v.Item]:
        """What cannot be seen."""
        return self._listed(v.Item, "blind-spots", filters)

    def quarantine(self, **filters: object) -> Iterator[v.Item]:
        """What could not be read, by file and reason."""
        return self._listed(v.Item, "quarantine", filters)

    def quarantined(self, id: str) -> v.Quarantined:
        """One piece that could not be read, as it came in."""
        return self._get(v.Quarantined, f"/quarantine/{id}")

    def behaviours(self, **filters: object) -> Iterator[v.Item]:
        """What behaviours found, the highest score first."""
        return self._listed(v.Item, "behaviours", filters)

    # --- situations and incidents

    def situations(self, **filters: object) -> Iterator[v.SituationItem]:
        """Open situations by danger; ``state="all"`` for all of them."""
        return self._listed(v.SituationItem, "situations", filters)

    def situation(self, id: str) -> v.Situation:
        """One situation with everything that is known of it."""
        return self._tagged(v.Situation, f"/situations/{id}")

    def change_situation(
        self,
        situation: v.Situation | str,
        *,
        state: v.State | None = None,
        resolution: v.Resolution = "",
        reason: str = "",
        owner: str | None = None,
    ) -> v.Situation:
        """Change what is named. Of a situation that was read it is refused if somebody else was first.

        Raises:
            ChangedMeanwhile: it is not any more what was read.
        """
        body = {"state": state, "resolution": resolution, "reason": reason, "owner": owner}
        id, etag = (situation, "") if isinstance(situation, str) else (situation.id, situation.etag)
        return self._changed(v.Situation, f"/situations/{id}", body, etag)

    def split(self, id: str, detections: Sequence[str]) -> v.Situation:
        """Take detections out of a situation; they are another one from now on."""
        return self._post(v.Situation, f"/situations/{id}/split", {"detections": list(detections)})

    def merge(self, id: str, others: Sequence[str]) -> v.Situation:
        """Put situations together."""
        return self._post(v.Situation, f"/situations/{id}/merge", {"situations": list(others)})

    def undo(self, id: str, act: str) -> v.Situation:
        """Take a split or a merge of a situation back."""
        return self._post(v.Situation, f"/situations/{id}/acts/{act}/undo")

    def declare(self, id: str, title: str, *, owner: str = "") -> v.Incident:
        """Declare an incident from a situation."""
        return self._post(v.Incident, f"/situations/{id}/incident", {"title": title, "owner": owner})

    def incidents(self, **filters: object) -> Iterator[v.IncidentItem]:
        """Incidents, the newest first."""
        return self._listed(v.IncidentItem, "incidents", filters)

    def incident(self, id: str) -> v.Incident:
        """One incident."""
        return self._tagged(v.Incident, f"/incidents/{id}")

    def change_incident(
        self,
        incident: v.Incident | str,
        *,
        state: v.State | None = None,
        owner: str | None = None,
        title: str | None = None,
    ) -> v.Incident:
        """Change what is named; as ``change_situation``. Raises: ChangedMeanwhile."""
        id, etag = (incident, "") if isinstance(incident, str) else (incident.id, incident.etag)
        return self._changed(v.Incident, f"/incidents/{id}", {"state": state, "owner": owner, "title": title}, etag)

    def comment(self, about: Literal["situations", "incidents"], id: str, text: str) -> None:
        """Write something about a situation or an incident."""
        self._post(dict[str, Any], f"/{about}/{id}/comments", {"text": text})

    def add_task(
        self, about: Literal["situations", "incidents"], id: str, text: str, *, owner: str = "", due: str | None = None
    ) -> str:
        """Give somebody something to do; give the task's id."""
        return self._post(_Made, f"/{about}/{id}/tasks", {"text": text, "owner": owner, "due": due}).id

    def finish_task(self, id: str, *, done: bool = True) -> None:
        """Say that a task is done, or is not."""
        self._transport.call("PATCH", f"/tasks/{id}", body={"done": done})

    def _tagged(self, kind: type[T], path: str) -> T:
        answer = self._transport.call("GET", path)
        return _with_etag(_decoded(answer.body, kind), answer.etag)

    def _changed(self, kind: type[T], path: str, body: Mapping[str, object], etag: str) -> T:
        sent = {name: value for name, value in body.items() if value is not None}
        answer = self._transport.call("PATCH", path, body=sent, headers={"if-match": etag} if etag else None)
        return _with_etag(_decoded(answer.body, kind), answer.etag)

    # --- suppressions

    def suppressions(self, **filters: object) -> Iterator[v.Item]:
        """Suppressions, also those that have ended."""
        return self._listed(v.Item, "suppressions", filters)

    def suppression(self, id: str) -> v.Suppression:
        """One suppression with its filter."""
        return self._get(v.Suppression, f"/suppressions/{id}")

    def draft_suppression(self, detection: str) -> str:
        """A filter that would hide a detection and those like it, to be looked over."""
        return self._get(dict[str, str], "/suppressions/draft", detection=detection)["text"]

    def try_suppression(self, text: str, *, org: str = "") -> v.Trial:
        """Say what a filter would have hidden; nothing is changed."""
        return self._post(v.Trial, "/suppressions/try", {"text": text}, org=org)

    def suppress(self, text: str, reason: str, *, days: int = 30, org: str = "") -> v.Suppression:
        """Let a filter hide what comes from now on, and what it would have hidden so far."""
        return self._post(v.Suppression, "/suppressions", {"text": text, "reason": reason, "days": days}, org=org)

    def end_suppression(self, id: str, *, take_back: bool = True) -> int:
        """Let it hide nothing any more; give how many detections are shown again."""
        return self._delete(dict[str, int], f"/suppressions/{id}", take_back=take_back)["shown_again"]

    # --- rules and hunts

    def rules(self, **filters: object) -> Iterator[v.Item]:
        """The rules that run, with what they found."""
        return self._listed(v.Item, "rules", filters)

    def rule(self, id: str) -> v.Rule:
        """One rule that runs."""
        return self._get(v.Rule, f"/rules/{id}")

    def check_rules(self, text: str, *, form: Literal["rule", "expression"] = "rule", org: str = "") -> v.CheckedRules:
        """Say what of a text can be used, and what running it over history would cost."""
        return self._post(v.CheckedRules, "/rules/check", {"text": text, "form": form}, org=org)

    def add_rules(self, text: str) -> v.Switched:
        """Add rules and switch them on."""
        return self._post(v.Switched, "/rules", {"text": text})

    def switch_on(self, id: str) -> v.Switched:
        """Switch on a rule that was switched off."""
        return self._post(v.Switched, f"/rules/{id}/switch-on")

    def switch_off(self, id: str) -> v.Switched:
        """Switch a rule off."""
        return self._delete(v.Switched, f"/rules/{id}")

    def rule_packs(self, **filters: object) -> Iterator[v.Item]:
        """Packs of rules that were sent, the newest first."""
        return self._listed(v.Item, "rule-packs", filters)

    def send_rule_pack(self, name: str, file: BinaryIO) -> v.RulePack:
        """Send an archive of rules, or one rule file. Nothing of it runs yet."""
        answer = self._transport.upload("/rule-packs", {"name": name}, file, "application/octet-stream")
        return _decoded(answer.body, v.RulePack)

    def rule_pack(self, id: str) -> v.RulePack:
        """What of a pack can be used, what would change, and what a trial found."""
        return self._get(v.RulePack, f"/rule-packs/{id}")

    def remove_rule_pack(self, id: str) -> str:
        """Forget a pack, and give its name. What of it was switched on goes on running."""
        return self._delete(dict[str, str], f"/rule-packs/{id}")["name"]

    def try_rule_pack(self, id: str) -> v.Hunt:
        """Run a pack over all of history, as a job that keeps only how much each rule finds."""
        return self._post(v.Hunt, f"/rule-packs/{id}/try")

    def switch_on_rule_pack(self, id: str, *, level: v.Level = "informational", replace: bool = False) -> v.Switched:
        """Switch on the rules of a pack from a level on; with ``replace``, switch all others off."""
        return self._post(v.Switched, f"/rule-packs/{id}/switch-on", {"level": level, "replace": replace})

    def hunts(self, **filters: object) -> Iterator[v.Item]:
        """Hunts, the newest first."""
        return self._listed(v.Item, "hunts", filters)

    def hunt(self, text: str, *, form: Literal["rule", "expression"] = "rule", org: str = "") -> v.Hunt:
        """Run rules over all of history, as a job."""
        return self._post(v.Hunt, "/hunts", {"text": text, "form": form}, org=org)

    def hunt_state(self, id: str) -> v.Hunt:
        """How far a hunt is."""
        return self._get(v.Hunt, f"/hunts/{id}")

    def cancel_hunt(self, id: str) -> v.Hunt:
        """Cancel a hunt. What it found stays."""
        return self._delete(v.Hunt, f"/hunts/{id}")

    def jobs(self, **filters: object) -> Iterator[v.Item]:
        """All jobs, for administrators."""
        return self._listed(v.Item, "jobs", filters)

    # --- indicators

    def indicator_sets(self, **filters: object) -> Iterator[v.Item]:
        """The sets of indicators that are looked for."""
        return self._listed(v.Item, "indicator-sets", filters)

    def indicator_set(self, id: str) -> v.IndicatorSet:
        """One version of a set."""
        return self._get(v.IndicatorSet, f"/indicator-sets/{id}")

    def add_indicators(
        self, name: str, text: str, *, source: str = "", marking: str = "", org: str = ""
    ) -> v.IndicatorSet:
        """Make some indicators the newest version of a set."""
        body = {"name": name, "text": text, "source": source, "marking": marking}
        return self._post(v.IndicatorSet, "/indicator-sets", body, org=org)

    def retire_indicators(self, id: str) -> v.IndicatorSet:
        """Look for a set no more."""
        return self._delete(v.IndicatorSet, f"/indicator-sets/{id}")

    def look_for(self, text: str, *, org: str = "") -> v.LookedFor:
        """Look for indicators in all of history, at once."""
        return self._post(v.LookedFor, "/indicators/look-for", {"text": text}, org=org)

    # --- much at once

    def export_events(self, *, streams: Sequence[str] = (), since: str = "", until: str = "", org: str = "") -> Rows:
        """Events of streams and a period."""
        return Rows(self._transport, "/export/events", {"stream": list(streams), **_span(since, until, org)})

    def export_detections(
        self, *, level: v.Level = "informational", since: str = "", until: str = "", org: str = ""
    ) -> Rows:
        """Detections."""
        return Rows(self._transport, "/export/detections", {"level": level, **_span(since, until, org)})

    def export_sightings(self, observable: str, *, kind: str = "", org: str = "") -> Rows:
        """All sightings of an observable."""
        return Rows(self._transport, "/export/sightings", {"q": observable, "kind": kind, "org": org})

    def export_indicators(self, id: str) -> Rows:
        """The indicators of one version of a set."""
        return Rows(self._transport, f"/indicator-sets/{id}/indicators", {})

    def ocsf_events(self, *, streams: Sequence[str] = (), since: str = "", until: str = "", org: str = "") -> Rows:
        """Events in OCSF."""
        return Rows(self._transport, "/ocsf/events", {"stream": list(streams), **_span(since, until, org)})

    def ocsf_findings(
        self, *, level: v.Level = "informational", since: str = "", until: str = "", org: str = ""
    ) -> Rows:
        """Detections as findings of OCSF."""
        return Rows(self._transport, "/ocsf/findings", {"level": level, **_span(since, until, org)})

    def save_arrow(
        self,
        what: Literal["export/events", "export/detections", "export/sightings"],
        file: BinaryIO,
        **parameters: object,
    ) -> int:
        """Write an export to a file as an Arrow stream; give how many rows it has."""
        rows: list[int] = []
        for chunk in self._transport.download(f"/{what}", parameters | {"as": "arrow"}, rows.append):
            file.write(chunk)
        return rows[0]

    def import_events(self, org: str, file: BinaryIO, *, media_type: str = JSON_LINES) -> v.Taken:
        """Hand events over, as JSON lines or (``ARROW``) an Arrow stream: the same ones are taken in once."""
        return _decoded(self._transport.upload("/import/events", {"org": org}, file, media_type).body, v.Taken)

    def import_indicators(
        self,
        name: str,
        file: BinaryIO,
        *,
        media_type: str = JSON_LINES,
        source: str = "",
        marking: str = "",
        org: str = "",
    ) -> v.IndicatorSet:
        """Make indicators the newest version of a set: rows, or with ``text/plain`` a list, CSV, STIX or MISP."""
        parameters = {"name": name, "source": source, "marking": marking, "org": org}
        answer = self._transport.upload("/import/indicators", parameters, file, media_type)
        return _decoded(answer.body, v.IndicatorSet)


def _span(since: str, until: str, org: str) -> dict[str, object]:
    return {"since": since, "until": until, "org": org}


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_understood(error) from error


def _not_understood(error: Exception) -> MingjianError:
    return DeliveryError(f"the answer is not understood: {error}", may_retry=False)


def _with_etag(value: T, etag: str) -> T:
    assert isinstance(value, msgspec.Struct), "these have an etag"
    return msgspec.structs.replace(value, etag=etag)
