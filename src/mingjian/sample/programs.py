"""Programs that run on Windows hosts of the sector: where they lie and what their files say of themselves."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import msgspec


class Program(msgspec.Struct, frozen=True):
    """An executable file."""

    image: str
    """The whole path; ``{login}`` is the person's folder."""
    version: str = "-"
    description: str = "-"
    product: str = "-"
    company: str = "-"
    original: str = "-"

    @property
    def name(self) -> str:
        """The file's name."""
        return self.image.rpartition("\\")[2]


_OS = ("Microsoft® Windows® Operating System", "Microsoft Corporation")
_OS_VERSION = "10.0.22621.1 (WinBuild.160101.0800)"
_SYSTEM = "C:\\Windows\\System32\\"
_OFFICE = "C:\\Program Files\\Microsoft Office\\root\\Office16\\"


def _system(name: str, description: str, original: str = "", folder: str = _SYSTEM) -> Program:
    return Program(folder + name, _OS_VERSION, description, *_OS, original or name)


def _office(name: str, description: str) -> Program:
    return Program(
        _OFFICE + name, "16.0.17328.20162", description, "Microsoft Office", "Microsoft Corporation", name.title()
    )


_ROWS: Final = (
    ("explorer", _system("explorer.exe", "Windows Explorer", "EXPLORER.EXE", "C:\\Windows\\")),
    ("userinit", _system("userinit.exe", "Userinit Logon Application", "USERINIT.EXE")),
    ("winlogon", _system("winlogon.exe", "Windows Logon Application", "WINLOGON.EXE")),
    ("services", _system("services.exe", "Services and Controller app")),
    ("lsass", _system("lsass.exe", "Local Security Authority Process")),
    ("svchost", _system("svchost.exe", "Host Process for Windows Services")),
    ("taskhost", _system("taskhostw.exe", "Host Process for Windows Tasks")),
    ("runtime", _system("RuntimeBroker.exe", "Runtime Broker")),
    ("backgroundtask", _system("backgroundTaskHost.exe", "Background Task Host")),
    ("conhost", _system("conhost.exe", "Console Window Host", "CONHOST.EXE")),
    ("search", _system("SearchProtocolHost.exe", "Microsoft Windows Search Protocol Host")),
    ("cmd", _system("cmd.exe", "Windows Command Processor", "Cmd.Exe")),
    (
        "powershell",
        _system("powershell.exe", "Windows PowerShell", "PowerShell.EXE", _SYSTEM + "WindowsPowerShell\\v1.0\\"),
    ),
    ("net", _system("net.exe", "Net Command")),
    ("net1", _system("net1.exe", "Net Command")),
    ("whoami", _system("whoami.exe", "whoami - displays logged on user information")),
    ("nltest", _system("nltest.exe", "Microsoft® Logon Server Test Utility", "nltestrk.exe")),
    ("ipconfig", _system("ipconfig.exe", "IP Configuration Utility")),
    ("ping", _system("PING.EXE", "TCP/IP Ping Command", "ping.exe")),
    ("gpupdate", _system("gpupdate.exe", "Microsoft® Group Policy Update Utility", "GPUpdate.exe")),
    ("systeminfo", _system("systeminfo.exe", "Displays system information", "sysinfo.exe")),
    ("tasklist", _system("tasklist.exe", "Lists the current running tasks")),
    ("rundll32", _system("rundll32.exe", "Windows host process (Rundll32)", "RUNDLL32.EXE")),
    ("reg", _system("reg.exe", "Registry Console Tool")),
    ("schtasks", _system("schtasks.exe", "Task Scheduler Configuration Tool", "schtasks.exe")),
    ("wevtutil", _system("wevtutil.exe", "Eventing Command Line Utility")),
    ("cipher", _system("cipher.exe", "File Encryption Utility", "CIPHER.EXE")),
    ("robocopy", _system("Robocopy.exe", "Microsoft Robocopy", "robocopy.exe")),
    ("msiexec", _system("msiexec.exe", "Windows® installer")),
    ("mmc", _system("mmc.exe", "Microsoft Management Console")),
    ("wbadmin", _system("wbadmin.exe", "Command Line Interface for Microsoft® BLB Backup", "WBADMIN.EXE")),
    ("notepad", _system("notepad.exe", "Notepad", "NOTEPAD.EXE")),
    (
        "installer",
        _system("TrustedInstaller.exe", "Windows Modules Installer", "", "C:\\Windows\\servicing\\"),
    ),
    ("tiworker", _system("TiWorker.exe", "Windows Modules Installer Worker", "", "C:\\Windows\\WinSxS\\")),
    ("wuauclt", _system("wuauclt.exe", "Windows Update")),
    ("outlook", _office("OUTLOOK.EXE", "Microsoft Outlook")),
    ("word", _office("WINWORD.EXE", "Microsoft Word")),
    ("excel", _office("EXCEL.EXE", "Microsoft Excel")),
    (
        "edge",
        Program(
            "C:\\Program Files (x86)\\Microsoft\\Edge\\Application\\msedge.exe",
            *("133.0.3065.69", "Microsoft Edge", "Microsoft Edge", "Microsoft Corporation", "msedge.exe"),
        ),
    ),
    (
        "edgeupdate",
        Program(
            "C:\\Program Files (x86)\\Microsoft\\EdgeUpdate\\MicrosoftEdgeUpdate.exe",
            *("1.3.195.45", "Microsoft Edge Update", "Microsoft Edge Update", "Microsoft Corporation"),
            "msedgeupdate.dll",
        ),
    ),
    (
        "defender",
        Program(
            "C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.25010.11-0\\MsMpEng.exe",
            *("4.18.25010.11", "Antimalware Service Executable", *_OS, "MsMpEng.exe"),
        ),
    ),
    (
        "wps",
        Program(
            "C:\\Program Files (x86)\\Kingsoft\\WPS Office\\12.1.0.19770\\office6\\wps.exe",
            *("12.1.0.19770", "WPS Writer", "WPS Office", "Zhuhai Kingsoft Office Software Co.,Ltd", "wps.exe"),
        ),
    ),
    (
        "et",
        Program(
            "C:\\Program Files (x86)\\Kingsoft\\WPS Office\\12.1.0.19770\\office6\\et.exe",
            *("12.1.0.19770", "WPS Spreadsheets", "WPS Office", "Zhuhai Kingsoft Office Software Co.,Ltd", "et.exe"),
        ),
    ),
    ("rar", Program("C:\\Program Files\\WinRAR\\Rar.exe", "7.1.0", "Command line RAR", "WinRAR", "Alexander Roshal")),
    ("sevenzip", Program("C:\\ProgramData\\7za.exe", "24.09", "7-Zip Standalone Console", "7-Zip", "Igor Pavlov")),
    (
        "rclone",
        Program("C:\\ProgramData\\rclone.exe", "1.69.0", "Rclone", "Rclone", "https://rclone.org", "rclone.exe"),
    ),
)
PROGRAMS: Final[dict[str, Program]] = dict(_ROWS)
"""The programs of the sector, by the names that this package uses for them."""


@cache
def hashes(image: str, version: str) -> str:
    """The hashes of a file, as Sysmon writes them. No real file has them."""
    digest = hashlib.blake2b(f"{image.lower()} {version}".encode(), digest_size=64).hexdigest().upper()
    return f"MD5={digest[:32]},SHA256={digest[32:96]},IMPHASH={digest[96:128]}"
