"""What a Suricata sensor writes: EVE, one JSON object a line. Source: Suricata user guide, section EVE JSON Format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mingjian.sample.book import Book
from mingjian.sample.chance import Chance, Numbers, listed
from mingjian.sample.moments import SECOND, iso_us, many
from mingjian.sample.templates import json_inner
from mingjian.sample.writers.flows import Flow, Flows, Lookup, Request, Shared, Tls

_APPLICATIONS: Final = {"ssl": "tls", "http": "http", "dns": "dns", "smb": "smb", "ssh": "ssh", "smtp": "smtp",
                        "krb_tcp": "krb5"}  # fmt: skip


class SuricataSensor:
    """Suricata at the border of one organisation. Its clock is set to local time, and says so."""

    def __init__(self, book: Book, name: str, chance: Chance, zone_us: int, zone_text: str) -> None:
        self._append = book.lane(name, "jsonl").append
        self.chance = chance
        self._zone_us = zone_us
        self._zone = zone_text

    def _start(self, time_us: int, kind: str, flow: Flow, uid: str) -> str:
        return (
            f'{{"timestamp":"{iso_us(time_us + self._zone_us)}{self._zone}","flow_id":{uid},"in_iface":"eth1",'
            f'"event_type":"{kind}","src_ip":"{flow.source}","src_port":{flow.source_port},"dest_ip":"{flow.target}",'
            f'"dest_port":{flow.target_port},"proto":"{flow.protocol.upper()}"'
        )

    def flow(self, time_us: int, flow: Flow, mark: int) -> str:
        """A connection; gives its flow id."""
        uid = str(10**15 + self.chance.bits(49))
        end_us = time_us + flow.duration_us
        zone_us, zone = self._zone_us, self._zone
        sent, got = flow.sent_bytes, flow.received_bytes
        sent_packets, got_packets = sent // 1200 + 2, got // 1300 + (2 if got else 0)
        application = _APPLICATIONS.get(flow.service, "failed")
        line = (
            f'{self._start(end_us, "flow", flow, uid)},"app_proto":"{application}",'
            f'"flow":{{"pkts_toserver":{sent_packets},'
            f'"pkts_toclient":{got_packets},"bytes_toserver":{sent + 40 * sent_packets},'
            f'"bytes_toclient":{got + 40 * got_packets},"start":"{iso_us(time_us + zone_us)}{zone}",'
            f'"end":"{iso_us(end_us + zone_us)}{zone}","age":{flow.duration_us // SECOND},'
            f'"state":"{"closed" if flow.state == "SF" else "new"}","reason":"timeout","alerted":false}}}}'
        )
        self._append((end_us, line, mark))
        return uid

    def many(self, flows: Flows, numbers: Numbers) -> Sequence[str]:
        """Many connections of everyday life; gives their flow ids."""
        count = len(flows.kinds)
        uids = [str(10**15 + high) for high in listed(numbers.below(count, 1 << 30) * (1 << 18))]
        ends_us, zone = flows.times_us + flows.durations_us, self._zone
        starts, ends = many(flows.times_us + self._zone_us, "iso_us"), many(ends_us + self._zone_us, "iso_us")
        append = self._append
        for end_us, uid, source, source_port, target, kind, age, sent, got, start, end in zip(
            listed(ends_us), uids, flows.sources, flows.source_ports, flows.targets, flows.kinds,
            listed(flows.durations_us // SECOND), flows.sent, flows.received, starts, ends, strict=True,
        ):  # fmt: skip
            packets, answers = sent // 1200 + 1, got // 1300 + 1 if got else 0
            append((end_us, (
                f'{{"timestamp":"{end}{zone}","flow_id":{uid},"in_iface":"eth1","event_type":"flow","src_ip":"{source}",'
                f'"src_port":{source_port},"dest_ip":"{target}","dest_port":{kind.port},'
                f'"proto":"{kind.protocol.upper()}","app_proto":"{_APPLICATIONS.get(kind.service, "failed")}",'
                f'"flow":{{"pkts_toserver":{packets},"pkts_toclient":{answers},'
                f'"bytes_toserver":{sent + 40 * packets},"bytes_toclient":{got + 40 * answers},'
                f'"start":"{start}{zone}","end":"{end}{zone}","age":{age},'
                f'"state":"{"closed" if kind.state == "SF" else "new"}","reason":"timeout","alerted":false}}}}'
            ), 0))  # fmt: skip
        return uids

    def many_lookups(self, flows: Flows, uids: Sequence[str], lookups: Sequence[Lookup], numbers: Numbers) -> None:
        """What was asked in many exchanges with the name server."""
        ends_us, zone, append = flows.times_us + flows.durations_us, self._zone, self._append
        for end_us, uid, source, source_port, target, (query, answer, ttl, _, kind), number, end in zip(
            listed(ends_us), uids, flows.sources, flows.source_ports, flows.targets, lookups,
            listed(numbers.below(len(uids), 65536)), many(ends_us + self._zone_us, "iso_us"), strict=True,
        ):  # fmt: skip
            answers = (
                f',"answers":[{{"rrname":"{query}","rrtype":"{kind}","ttl":{ttl},"rdata":"{answer}"}}]'
                if answer
                else ""
            )
            append((end_us, (
                f'{{"timestamp":"{end}{zone}","flow_id":{uid},"in_iface":"eth1","event_type":"dns","src_ip":"{source}",'
                f'"src_port":{source_port},"dest_ip":"{target}","dest_port":53,"proto":"UDP","dns":{{"version":2,'
                f'"type":"answer","id":{number},"flags":"8180","qr":true,"rd":true,"ra":true,"rrname":"{query}",'
                f'"rrtype":"{kind}","rcode":"{"NOERROR" if answer else "NXDOMAIN"}"{answers}}}}}'
            ), 0))  # fmt: skip

    def lookup(self, time_us: int, flow: Flow, uid: str, lookup: Lookup, mark: int) -> None:
        """The answer of a name server, with the question (EVE DNS version 2)."""
        found = lookup.answer != ""
        answers = (
            f',"answers":[{{"rrname":"{lookup.query}","rrtype":"{lookup.type_name}","ttl":{lookup.ttl_s},'
            f'"rdata":"{lookup.answer}"}}]'
            if found
            else ""
        )
        line = (
            f'{self._start(time_us + flow.duration_us, "dns", flow, uid)},"dns":{{"version":2,"type":"answer",'
            f'"id":{self.chance.bits(16)},"flags":"8180","qr":true,"rd":true,"ra":true,"rrname":"{lookup.query}",'
            f'"rrtype":"{lookup.type_name}","rcode":"{"NOERROR" if found else "NXDOMAIN"}"{answers}}}}}'
        )
        self._append((time_us + flow.duration_us, line, mark))

    def request(self, time_us: int, flow: Flow, uid: str, request: Request, mark: int) -> None:
        """An HTTP request and its answer."""
        line = (
            f'{self._start(time_us + 80_000, "http", flow, uid)},"tx_id":0,"http":{{"hostname":"{request.host}",'
            f'"url":"{json_inner(request.uri)}","http_user_agent":"{json_inner(request.agent)}",'
            f'"http_content_type":"{request.mime}","http_method":"{request.method}","protocol":"HTTP/1.1",'
            f'"status":{request.status},"length":{request.received_bytes}}}}}'
        )
        self._append((time_us + 80_000, line, mark))

    def tls(self, time_us: int, flow: Flow, uid: str, tls: Tls, mark: int) -> None:
        """A TLS handshake."""
        print_ = tls.fingerprint
        fingerprint = ":".join([print_[place : place + 2] for place in range(0, 40, 2)])
        line = (
            f'{self._start(time_us + 60_000, "tls", flow, uid)},"tls":{{"subject":"CN={tls.server}",'
            f'"issuerdn":"C=XX, O=Example Trust, CN=Example Issuing CA 4","serial":"{print_[40:64].upper()}",'
            f'"fingerprint":"{fingerprint}","sni":"{tls.server}","version":"TLS 1.2"}}}}'
        )
        self._append((time_us + 60_000, line, mark))

    def shared(self, time_us: int, flow: Flow, uid: str, shared: Shared, mark: int) -> None:
        """A file over SMB."""
        command = "SMB2_COMMAND_WRITE" if shared.action == "SMB::FILE_WRITE" else "SMB2_COMMAND_CREATE"
        line = (
            f'{self._start(time_us, "smb", flow, uid)},"smb":{{"id":4,"dialect":"3.11","command":"{command}",'
            f'"status":"STATUS_SUCCESS","status_code":"0x0","session_id":{self.chance.bits(46)},"tree_id":5,'
            f'"filename":"{json_inner(shared.name)}","share":"{json_inner(shared.share)}"}}}}'
        )
        self._append((time_us, line, mark))
