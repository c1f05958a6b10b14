"""Settings: where they come from, which wins, what is refused."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from mingjian import settings
from mingjian.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / settings.FILE_NAME
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_and_environment_the_defaults_hold(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path, {"XDG_CACHE_HOME": "/var/cache"})
    assert loaded == settings.Settings(cache_folder=Path("/var/cache/mingjian"), jobs=settings.processors())
    assert loaded.jobs >= 1


def test_the_file_is_found_in_a_folder_above(tmp_path: Path) -> None:
    path = write(tmp_path, 'jobs = 3\nlanguage = "zh"\ncache_folder = "kept"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    loaded = settings.load(below, {})
    assert (loaded.jobs, loaded.language, loaded.file) == (3, "zh", path)
    assert loaded.cache_folder == tmp_path / "kept", "a path in the file is relative to the file"


def test_the_nearest_file_is_read_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "jobs = 3\n")
    below = tmp_path / "a"
    below.mkdir()
    write(below, 'log_level = "info"\n')
    loaded = settings.load(below, {})
    assert (loaded.log_level, loaded.jobs) == ("info", settings.processors())


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "jobs = 3\n")
    loaded = settings.load(tmp_path, {"MINGJIAN_JOBS": "7", "MINGJIAN_CACHE_FOLDER": "kept"})
    assert (loaded.jobs, loaded.cache_folder) == (7, tmp_path / "kept")


def test_no_jobs_means_one_for_each_processor(tmp_path: Path) -> None:
    assert settings.load(tmp_path, {"MINGJIAN_JOBS": "0"}).jobs == settings.processors()


@pytest.mark.parametrize(
    "text", ["job = 3", "[jobs]\nx = 1", 'language = "fr"', "jobs = true", "jobs = -1", "jobs = 257"]
)
def test_a_wrong_file_is_refused_with_the_key_and_what_is_allowed(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settings.load(tmp_path, {})
    assert caught.value.where == str(path)
    assert text.strip("[").split()[0].split("]")[0] in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"jobs = ", b"\xff\xfe", b"[" * 60_000, b"a = " + b"[" * 60_000, b"#" * 70_000])
def test_a_file_that_is_no_toml_or_too_large_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / settings.FILE_NAME).write_bytes(text)
    with pytest.raises(ConfigError):
        settings.load(tmp_path, {})


@pytest.mark.parametrize("name", ["MINGJIAN_JOB", "MINGJIAN_", "MINGJIAN_FILE"])
def test_an_unknown_variable_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(tmp_path, {name: "1"})
    assert caught.value.where == name


def test_variables_that_are_for_scripts_and_tests_are_no_settings(tmp_path: Path) -> None:
    settings.load(tmp_path, dict.fromkeys(settings.ENVIRONMENT_OTHER, "x") | {"HOME": "/"})


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "jobs = 3\n")
    if os.getuid() == 0:
        os.chown(path, 4242, 4242)
    else:
        monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="another user"):
        settings.load(tmp_path, {})


def test_every_setting_has_its_key_and_its_line_in_both_languages() -> None:
    assert [key.name for key in settings.KEYS] == [f.name for f in fields(settings.Settings) if f.name != "file"]
    assert all(key.kind and key.unit and key.default and key.line_en and key.line_zh for key in settings.KEYS)


def test_the_defaults_in_the_manual_are_the_real_ones(tmp_path: Path) -> None:
    plain = settings.load(tmp_path, {})
    for key in settings.KEYS:
        if key.name != "cache_folder":
            assert key.parse(key.default, tmp_path) == getattr(plain, key.name)
