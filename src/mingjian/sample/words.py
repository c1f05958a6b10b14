"""Invented names. Any likeness to a person, a place or an organisation is chance.

Names of hosts and sites end in names that nobody can own (RFC 2606); the people have no family but this file.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Named(NamedTuple):
    """A name in both languages, and as it stands in host names."""

    en: str
    zh: str
    short: str


PLACES: Final = (
    Named("Northmere", "北湖", "northmere"),
    Named("Qingxi", "青溪", "qingxi"),
    Named("Alderbrook", "桤溪", "alderbrook"),
    Named("Southport Hollow", "南谷", "southhollow"),
    Named("Bailu", "白鹭", "bailu"),
    Named("Greyfield", "灰原", "greyfield"),
    Named("Cold Harbour", "寒港", "coldharbour"),
    Named("Yunshi", "云石", "yunshi"),
    Named("Marchwell", "边泉", "marchwell"),
    Named("Eastfen", "东沼", "eastfen"),
    Named("Luoyan", "落雁", "luoyan"),
    Named("Whitestone", "白岩", "whitestone"),
)
KINDS: Final = (
    Named("Water", "水务", "water"),
    Named("Hospital", "医院", "hospital"),
    Named("Railways", "铁路", "rail"),
    Named("Power", "电力", "power"),
    Named("University", "大学", "univ"),
    Named("Port Authority", "港务", "port"),
    Named("Savings Bank", "储蓄银行", "bank"),
    Named("Archive", "档案馆", "archive"),
)
DEPARTMENTS: Final = (
    Named("finance", "财务", "fin"),
    Named("operations", "运行", "ops"),
    Named("procurement", "采购", "pur"),
    Named("personnel", "人事", "hr"),
    Named("planning", "规划", "pln"),
    Named("engineering", "工程", "eng"),
)

GIVEN: Final = (
    *("alice", "bruno", "carla", "denis", "edith", "felix", "greta", "henry", "irene", "jonas", "karen", "louis"),
    *("maria", "nadia", "oscar", "paula", "quinn", "ruth", "simon", "tessa", "ulric", "vera", "wanda", "yvonne"),
)
FAMILY: Final = (
    *("abbot", "birch", "carver", "dunmore", "ellis", "farrow", "gilbey", "hartley", "ivers", "jessop", "keane"),
    *("linden", "marlow", "norwood", "osgood", "penrose", "quill", "rowan", "selby", "thorne", "upton", "vance"),
)
GIVEN_ZH: Final = (
    *(("芳", "fang"), ("伟", "wei"), ("娜", "na"), ("敏", "min"), ("静", "jing"), ("磊", "lei"), ("洋", "yang")),
    *(("艳", "yan"), ("勇", "yong"), ("杰", "jie"), ("涛", "tao"), ("明", "ming"), ("超", "chao"), ("霞", "xia")),
    *(("平", "ping"), ("刚", "gang"), ("桂英", "guiying"), ("建国", "jianguo"), ("晓东", "xiaodong")),
)
FAMILY_ZH: Final = (
    *(("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"), ("赵", "zhao")),
    *(("黄", "huang"), ("周", "zhou"), ("吴", "wu"), ("徐", "xu"), ("孙", "sun"), ("马", "ma"), ("朱", "zhu")),
    *(("胡", "hu"), ("郭", "guo"), ("何", "he"), ("林", "lin"), ("高", "gao"), ("罗", "luo")),
)

DOCUMENTS: Final = (
    *("budget", "minutes", "contract", "roster", "inventory", "quarterly report", "maintenance plan", "tender"),
    *("invoice list", "training schedule", "risk register", "site visit", "phone list", "annual review"),
)
DOCUMENTS_ZH: Final = (
    *("预算表", "会议纪要", "采购合同", "值班表", "设备台账", "季度报告", "检修计划", "招标文件"),
    *("发票清单", "培训安排", "风险清单", "巡检记录", "通讯录", "年度总结"),
)

SITE_WORDS: Final = (
    *("harbour", "lantern", "meadow", "copper", "violet", "summit", "cedar", "ripple", "ember", "willow", "falcon"),
    *("marble", "orchard", "beacon", "quarry", "timber", "saffron", "glacier", "juniper", "kestrel", "lagoon"),
)
SITE_KINDS: Final = ("news", "weather", "maps", "video", "shop", "wiki", "forum", "travel", "music", "jobs", "sports")
SITE_ENDINGS: Final = (".example", ".example.com", ".example.net", ".example.org")

PATHS: Final = (
    *("/", "/index.html", "/about", "/news/", "/news/2026/03/notice.html", "/contact", "/services", "/search?q=hours"),
    *("/assets/site.css", "/assets/site.js", "/assets/logo.svg", "/images/header.jpg", "/feed.xml", "/login"),
    *("/forms/meter-reading", "/robots.txt", "/favicon.ico", "/documents/prices.pdf", "/map?zoom=12"),
)

LOGIN_GUESSES: Final = (
    *("root", "admin", "test", "oracle", "ubuntu", "postgres", "user", "git", "ftpuser", "nagios", "support", "guest"),
    *("minecraft", "hadoop", "jenkins", "pi", "www", "mysql", "tomcat", "deploy1"),
)

BROWSERS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:135.0) Gecko/20100101 Firefox/135.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 "
    "Safari/605.1.15",
)
CRAWLERS: Final = (
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://crawler.example/bot.html)",
    "Mozilla/5.0 (compatible; ArchiveSpider/1.4; +https://spider.example.org/)",
)
