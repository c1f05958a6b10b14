"""What is in order and behaves like an attack: named, so that whoever judges behaviours can say what they mistook."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from mingjian.sample.activity.machines import TELEMETRY, UPDATES
from mingjian.sample.activity.oddities import COLLECTOR, VAULT


class Lookalike(msgspec.Struct, frozen=True, kw_only=True):
    """Something benign, the behaviour it looks like, and how to know it again."""

    behaviour: Literal[
        "beacon", "exfiltration", "tunnel", "generated names", "failed logons", "scan", "rare", "lateral"
    ]
    title_en: str
    title_zh: str
    role: str = ""
    """Of the host that does it; empty: any."""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


LOOKALIKES: Final = (
    Lookalike(
        behaviour="beacon", title_en="A gateway sends its measurements by the clock", title_zh="网关定时上传读数",
        role="application", names=(COLLECTOR.name,), addresses=(COLLECTOR.address,),
    ),
    Lookalike(
        behaviour="beacon", title_en="Programs ask their makers for updates", title_zh="软件向厂商查询更新",
        names=(UPDATES.name, TELEMETRY.name), addresses=(UPDATES.address, TELEMETRY.address),
    ),
    Lookalike(
        behaviour="beacon", title_en="Clocks are set", title_zh="时钟同步", addresses=("192.0.2.205",),
    ),
    Lookalike(
        behaviour="exfiltration", title_en="The backup of the backup goes to a provider",
        title_zh="备份副本上传至服务商", role="backup", names=(VAULT.name,), addresses=(VAULT.address,),
    ),
    Lookalike(
        behaviour="exfiltration", title_en="Servers are backed up every night", title_zh="服务器每夜备份",
        role="backup",
    ),
    Lookalike(
        behaviour="tunnel", title_en="The virus scanner asks for the reputation of files by name",
        title_zh="杀毒软件以域名查询文件信誉", names=("av-lookup.example.com",),
    ),
    Lookalike(
        behaviour="generated names", title_en="Content networks have names like made-up ones",
        title_zh="内容分发网络的域名形似随机生成",
        names=("edge-delivery.example.net", "cloud-cache.example.com", "media-stream.example.org"),
    ),
    Lookalike(
        behaviour="generated names", title_en="Browsers ask for names that cannot be there",
        title_zh="浏览器查询必不存在的名称",
    ),
    Lookalike(
        behaviour="failed logons", title_en="People mistype, at the desk, on the VPN and with sudo",
        title_zh="人员在本机、VPN 和 sudo 输错口令",
    ),
    Lookalike(
        behaviour="failed logons", title_en="The internet guesses names over SSH", title_zh="互联网对 SSH 的零星猜测",
        role="web",
    ),
    Lookalike(
        behaviour="scan", title_en="The organisation's own scanner asks every port on Wednesday night",
        title_zh="本单位扫描器周三夜间扫描全部端口", role="scanner",
    ),
    Lookalike(
        behaviour="rare", title_en="Somebody installs a chat program for themselves", title_zh="有人自行安装聊天软件",
    ),
    Lookalike(
        behaviour="lateral", title_en="Administrators log in to servers and open their shares",
        title_zh="管理员登录服务器、打开共享",
    ),
)  # fmt: skip
"""All of them."""
