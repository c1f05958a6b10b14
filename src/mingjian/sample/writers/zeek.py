"""What a Zeek sensor writes: conn, dns, http, ssl, smb_files; tab-separated or as streaming JSON.

A connection is logged when it ends, everything else when it is seen. Source: Zeek manual, section Log Files; the
package json-streaming-logs for ``_path`` and ``_write_ts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from mingjian.sample.book import Book, Lane
from mingjian.sample.chance import Chance, Numbers, listed
from mingjian.sample.moments import SECOND, epoch_us, iso_ms, iso_us, many
from mingjian.sample.templates import json_inner
from mingjian.sample.writers.flows import Flow, Flows, Lookup, Request, Shared, Tls

_ENDPOINTS: Final = "ts:time uid:string id.orig_h:addr id.orig_p:port id.resp_h:addr id.resp_p:port"
_COLUMNS: Final[dict[str, str]] = {
    "conn": f"{_ENDPOINTS} proto:enum service:string duration:interval orig_bytes:count resp_bytes:count "
    "conn_state:string local_orig:bool local_resp:bool missed_bytes:count history:string orig_pkts:count "
    "orig_ip_bytes:count resp_pkts:count resp_ip_bytes:count tunnel_parents:set[string]",
    "dns": f"{_ENDPOINTS} proto:enum trans_id:count rtt:interval query:string qclass:count qclass_name:string "
    "qtype:count qtype_name:string rcode:count rcode_name:string AA:bool TC:bool RD:bool RA:bool Z:count "
    "answers:vector[string] TTLs:vector[interval] rejected:bool",
    "http": f"{_ENDPOINTS} trans_depth:count method:string host:string uri:string referrer:string version:string "
    "user_agent:string origin:string request_body_len:count response_body_len:count status_code:count "
    "status_msg:string info_code:count info_msg:string tags:set[enum] username:string password:string "
    "proxied:set[string] orig_fuids:vector[string] orig_filenames:vector[string] orig_mime_types:vector[string] "
    "resp_fuids:vector[string] resp_filenames:vector[string] resp_mime_types:vector[string]",
    "ssl": f"{_ENDPOINTS} version:string cipher:string curve:string server_name:string resumed:bool "
    "last_alert:string next_protocol:string established:bool ssl_history:string cert_chain_fps:vector[string] "
    "client_cert_chain_fps:vector[string] sni_matches_cert:bool",
    "smb_files": f"{_ENDPOINTS} fuid:string action:enum path:string name:string size:count prev_name:string "
    "times.modified:time times.accessed:time times.created:time times.changed:time",
}
_STATUS: Final = {200: "OK", 204: "No Content", 301: "Moved Permanently", 304: "Not Modified", 403: "Forbidden",
                  404: "Not Found", 500: "Internal Server Error"}  # fmt: skip


def _head(log: str, opened_us: int) -> tuple[str, ...]:
    names, types = zip(*(column.split(":") for column in _COLUMNS[log].split()), strict=True)
    return (
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        f"#path\t{log}",
        f"#open\t{_stamp(opened_us)}",
        "\t".join(("#fields", *names)),
        "\t".join(("#types", *types)),
    )


def _stamp(time_us: int) -> str:
    return iso_us(time_us)[:19].replace("T", "-").replace(":", "-")


class ZeekSensor:
    """Zeek at the border and in the core of one organisation."""

    def __init__(
        self,
        book: Book,
        folder: str,
        shape: Literal["zeek-tsv", "zeek-json"],
        chance: Chance,
        start_us: int,
        end_us: int,
    ) -> None:
        self.chance = chance
        self._is_json = shape == "zeek-json"
        lanes: dict[str, Lane] = {}
        for log in _COLUMNS:
            if self._is_json:
                lanes[log] = book.lane(f"{folder}/{log}.log", "jsonl")
            else:
                tail = f"#close\t{_stamp(end_us)}\n"
                lanes[log] = book.lane(f"{folder}/{log}.log", "zeek", head=_head(log, start_us), tail=tail)
        self._conn, self._dns, self._http = lanes["conn"], lanes["dns"], lanes["http"]
        self._ssl, self._smb = lanes["ssl"], lanes["smb_files"]

    def _json_start(self, log: str, written_us: int, flow: Flow, uid: str, time_us: int) -> str:
        return (
            f'{{"_path":"{log}","_write_ts":"{iso_us(written_us)}Z","ts":"{iso_us(time_us)}Z","uid":"{uid}",'
            f'"id.orig_h":"{flow.source}","id.orig_p":{flow.source_port},"id.resp_h":"{flow.target}",'
            f'"id.resp_p":{flow.target_port}'
        )

    def _tsv_start(self, flow: Flow, uid: str, time_us: int) -> str:
        return f"{epoch_us(time_us)}\t{uid}\t{flow.source}\t{flow.source_port}\t{flow.target}\t{flow.target_port}"

    def flow(self, time_us: int, flow: Flow, mark: int) -> str:
        """A connection; gives its identifier, which the logs of what was said in it share."""
        uid = "C" + self.chance.letters()
        end_us = time_us + flow.duration_us
        seconds, rest = divmod(flow.duration_us, SECOND)
        sent, got = flow.sent_bytes, flow.received_bytes
        sent_packets, got_packets = sent // 1200 + 2, got // 1300 + (2 if got else 0)
        local = flow.target.startswith("10.")
        if self._is_json:
            line = (
                f'{self._json_start("conn", end_us, flow, uid, time_us)},"proto":"{flow.protocol}",'
                f"{flow.service and f'{chr(34)}service{chr(34)}:{chr(34)}{flow.service}{chr(34)},'}"
                f'"duration":{seconds}.{rest:06},"orig_bytes":{sent},"resp_bytes":{got},"conn_state":"{flow.state}",'
                f'"local_orig":{"true" if flow.source.startswith("10.") else "false"},'
                f'"local_resp":{"true" if local else "false"},"missed_bytes":0,"history":"{flow.history}",'
                f'"orig_pkts":{sent_packets},"orig_ip_bytes":{sent + 40 * sent_packets},"resp_pkts":{got_packets},'
                f'"resp_ip_bytes":{got + 40 * got_packets}}}'
            )
        else:
            line = (
                f"{self._tsv_start(flow, uid, time_us)}\t{flow.protocol}\t{flow.service or '-'}\t{seconds}.{rest:06}\t"
                f"{sent}\t{got}\t{flow.state}\t{'T' if flow.source.startswith('10.') else 'F'}\t"
                f"{'T' if local else 'F'}\t"
                f"0\t{flow.history}\t{sent_packets}\t{sent + 40 * sent_packets}\t{got_packets}\t"
                f"{got + 40 * got_packets}\t-"
            )
        self._conn.append((end_us, line, mark))
        return uid

    def many(self, flows: Flows, numbers: Numbers) -> Sequence[str]:
        """Many connections of everyday life; gives their identifiers."""
        uids = numbers.letters(len(flows.kinds))
        ends_us = flows.times_us + flows.durations_us
        append, spans = self._conn.append, [span / SECOND for span in listed(flows.durations_us)]
        rows = zip(
            listed(ends_us), uids, flows.sources, flows.source_ports, flows.targets, flows.kinds, spans, flows.sent,
            flows.received, many(flows.times_us, "iso_us" if self._is_json else "epoch_us"),
            many(ends_us, "iso_us") if self._is_json else uids, strict=True,
        )  # fmt: skip
        if not self._is_json:
            for end_us, uid, source, source_port, target, kind, span, sent, got, start, _ in rows:
                packets, answers = sent // 1200 + 1, got // 1300 + 1 if got else 0
                local = "T" if target.startswith("10.") else "F"
                append((end_us, (
                    f"{start}\tC{uid}\t{source}\t{source_port}\t{target}\t{kind.port}\t{kind.protocol}\t"
                    f"{kind.service or '-'}\t{span:.6f}\t{sent}\t{got}\t{kind.state}\tT\t{local}\t0\t{kind.history}\t"
                    f"{packets}\t{sent + 40 * packets}\t{answers}\t{got + 40 * answers}\t-"
                ), 0))  # fmt: skip
            return uids
        for end_us, uid, source, source_port, target, kind, span, sent, got, start, end in rows:
            packets, answers = sent // 1200 + 1, got // 1300 + 1 if got else 0
            service = f'"service":"{kind.service}",' if kind.service else ""
            local = "true" if target.startswith("10.") else "false"
            append((end_us, (
                f'{{"_path":"conn","_write_ts":"{end}Z","ts":"{start}Z","uid":"C{uid}","id.orig_h":"{source}",'
                f'"id.orig_p":{source_port},"id.resp_h":"{target}","id.resp_p":{kind.port},"proto":"{kind.protocol}",'
                f'{service}"duration":{span:.6f},"orig_bytes":{sent},"resp_bytes":{got},"conn_state":"{kind.state}",'
                f'"local_orig":true,"local_resp":{local},"missed_bytes":0,"history":"{kind.history}",'
                f'"orig_pkts":{packets},"orig_ip_bytes":{sent + 40 * packets},"resp_pkts":{answers},'
                f'"resp_ip_bytes":{got + 40 * answers}}}'
            ), 0))  # fmt: skip
        return uids

    def many_lookups(self, flows: Flows, uids: Sequence[str], lookups: Sequence[Lookup], numbers: Numbers) -> None:
        """What was asked in many exchanges with the name server."""
        ends_us, append = flows.times_us + flows.durations_us, self._dns.append
        rows = zip(
            listed(ends_us), uids, flows.sources, flows.source_ports, flows.targets,
            [span / SECOND for span in listed(flows.durations_us)], lookups, listed(numbers.below(len(uids), 65536)),
            many(flows.times_us, "iso_us" if self._is_json else "epoch_us"),
            many(ends_us, "iso_us") if self._is_json else uids, strict=True,
        )  # fmt: skip
        for end_us, uid, source, source_port, target, rtt, (
            query,
            answer,
            ttl,
            type_,
            type_name,
        ), number, start, end in rows:
            code, code_name = (0, "NOERROR") if answer else (3, "NXDOMAIN")
            if self._is_json:
                answers = f',"answers":["{answer}"],"TTLs":[{ttl}.0]' if answer else ""
                line = (
                    f'{{"_path":"dns","_write_ts":"{end}Z","ts":"{start}Z","uid":"C{uid}","id.orig_h":"{source}",'
                    f'"id.orig_p":{source_port},"id.resp_h":"{target}","id.resp_p":53,"proto":"udp",'
                    f'"trans_id":{number},"rtt":{rtt:.6f},"query":"{query}","qclass":1,"qclass_name":"C_INTERNET",'
                    f'"qtype":{type_},"qtype_name":"{type_name}","rcode":{code},"rcode_name":"{code_name}","AA":false,'
                    f'"TC":false,"RD":true,"RA":true,"Z":0{answers},"rejected":false}}'
                )
            else:
                line = (
                    f"{start}\tC{uid}\t{source}\t{source_port}\t{target}\t53\tudp\t{number}\t{rtt:.6f}\t{query}\t1\t"
                    f"C_INTERNET\t{type_}\t{type_name}\t{code}\t{code_name}\tF\tF\tT\tT\t0\t{answer or '-'}\t"
                    f"{f'{ttl}.000000' if answer else '-'}\tF"
                )
            append((end_us, line, 0))

    def lookup(self, time_us: int, flow: Flow, uid: str, lookup: Lookup, mark: int) -> None:
        """A question to a name server and its answer."""
        trans_id, rtt = self.chance.bits(16), flow.duration_us
        found = lookup.answer != ""
        code, code_name = (0, "NOERROR") if found else (3, "NXDOMAIN")
        if self._is_json:
            answers = f',"answers":["{lookup.answer}"],"TTLs":[{lookup.ttl_s}.0]' if found else ""
            line = (
                f'{self._json_start("dns", time_us + rtt, flow, uid, time_us)},"proto":"udp","trans_id":{trans_id},'
                f'"rtt":{rtt / SECOND:.6f},"query":"{lookup.query}","qclass":1,"qclass_name":"C_INTERNET",'
                f'"qtype":{lookup.type_number},"qtype_name":"{lookup.type_name}","rcode":{code},'
                f'"rcode_name":"{code_name}","AA":false,"TC":false,"RD":true,"RA":true,"Z":0{answers},"rejected":false}}'
            )
        else:
            line = (
                f"{self._tsv_start(flow, uid, time_us)}\tudp\t{trans_id}\t{rtt / SECOND:.6f}\t{lookup.query}\t1\t"
                f"C_INTERNET\t{lookup.type_number}\t{lookup.type_name}\t{code}\t{code_name}\tF\tF\tT\tT\t0\t"
                f"{lookup.answer or '-'}\t{f'{lookup.ttl_s}.000000' if found else '-'}\tF"
            )
        self._dns.append((time_us + rtt, line, mark))

    def request(self, time_us: int, flow: Flow, uid: str, request: Request, mark: int) -> None:
        """An HTTP request and its answer."""
        status = _STATUS.get(request.status, "-")
        fuid = "F" + self.chance.letters()
        if self._is_json:
            line = (
                f'{self._json_start("http", time_us + 80_000, flow, uid, time_us)},"trans_depth":1,'
                f'"method":"{request.method}","host":"{request.host}","uri":"{json_inner(request.uri)}","version":"1.1",'
                f'"user_agent":"{json_inner(request.agent)}","request_body_len":{request.sent_bytes},'
                f'"response_body_len":{request.received_bytes},"status_code":{request.status},"status_msg":"{status}",'
                f'"tags":[],"resp_fuids":["{fuid}"],"resp_mime_types":["{request.mime}"]}}'
            )
        else:
            line = (
                f"{self._tsv_start(flow, uid, time_us)}\t1\t{request.method}\t{request.host}\t{request.uri}\t-\t1.1\t"
                f"{request.agent}\t-\t{request.sent_bytes}\t{request.received_bytes}\t{request.status}\t{status}\t-\t-\t"
                f"(empty)\t-\t-\t-\t-\t-\t-\t{fuid}\t-\t{request.mime}"
            )
        self._http.append((time_us + 80_000, line, mark))

    def tls(self, time_us: int, flow: Flow, uid: str, tls: Tls, mark: int) -> None:
        """A TLS handshake."""
        fingerprint = tls.fingerprint
        if self._is_json:
            line = (
                f'{self._json_start("ssl", time_us + 60_000, flow, uid, time_us)},"version":"TLSv12",'
                f'"cipher":"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256","curve":"x25519","server_name":"{tls.server}",'
                f'"resumed":false,"next_protocol":"h2","established":true,"ssl_history":"CsxknGIi",'
                f'"cert_chain_fps":["{fingerprint}"],"client_cert_chain_fps":[],"sni_matches_cert":true}}'
            )
        else:
            line = (
                f"{self._tsv_start(flow, uid, time_us)}\tTLSv12\tTLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\tx25519\t"
                f"{tls.server}\tF\t-\th2\tT\tCsxknGIi\t{fingerprint}\t(empty)\tT"
            )
        self._ssl.append((time_us + 60_000, line, mark))

    def shared(self, time_us: int, flow: Flow, uid: str, shared: Shared, mark: int) -> None:
        """A file opened or written over SMB."""
        changed_us = time_us - 3600 * SECOND
        if self._is_json:
            line = (
                f'{self._json_start("smb_files", time_us, flow, uid, time_us)},"action":"{shared.action}",'
                f'"path":"{json_inner(shared.share)}","name":"{json_inner(shared.name)}","size":{shared.size_bytes},'
                f'"times.modified":"{iso_ms(changed_us)}","times.accessed":"{iso_ms(changed_us)}",'
                f'"times.created":"{iso_ms(changed_us)}","times.changed":"{iso_ms(changed_us)}"}}'
            )
        else:
            changed = epoch_us(changed_us)
            line = (
                f"{self._tsv_start(flow, uid, time_us)}\t-\t{shared.action}\t{_escaped(shared.share)}\t"
                f"{_escaped(shared.name)}\t{shared.size_bytes}\t-\t{changed}\t{changed}\t{changed}\t{changed}"
            )
        self._smb.append((time_us, line, mark))


def _escaped(text: str) -> str:
    """A string as Zeek's ASCII writer writes it: a backslash is doubled."""
    return text.replace("\\", "\\\\")
