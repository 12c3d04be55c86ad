"""Debian's versions as RPM's, and what a tree of files asks a package to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import rpm


@pytest.mark.parametrize(
    ("debian", "expected"),
    [
        ("1:26.1.5+dfsg1-9+deb13u1", ("26.1.5+dfsg1", "9+deb13u1")),
        ("1.7.24~ds1-6", ("1.7.24~ds1", "6")),
        ("0.19", ("0.19", "1")),
        ("2:9.1-rc1-2", ("9.1.rc1", "2")),
    ],
)
def test_versions_keep_their_order_and_lose_what_rpm_forbids(debian: str, expected: tuple[str, str]) -> None:
    assert rpm.version(debian) == expected


def test_a_package_makes_its_users_before_and_its_folders_after_its_files(tmp_path: Path) -> None:
    for path, text in (
        ("usr/lib/sysusers.d/thing.conf", "u thing - -\n"),
        ("usr/lib/tmpfiles.d/thing.conf", "d /run/thing\n"),
        ("usr/lib/systemd/system/thing.service", ""),
        ("usr/lib/systemd/system/thing@.service", ""),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    text = "\n".join(rpm.scriptlets(tmp_path))
    assert text.index("%pre") < text.index("u thing - -") < text.index("%post")
    assert "systemd-tmpfiles --create thing.conf" in text
    assert "systemctl disable --now thing.service ||" in text


def test_only_folders_that_are_empty_or_unusual_are_listed(tmp_path: Path) -> None:
    (tmp_path / "etc/plain").mkdir(parents=True)
    (tmp_path / "etc/secret").mkdir(mode=0o700)
    for folder in (tmp_path / "etc", tmp_path / "etc/plain"):
        folder.chmod(0o755)
    (tmp_path / "etc/secret/key").write_text("")
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/link").symlink_to("/etc/plain")
    assert rpm.files(tmp_path, {"/etc/secret/key": "0640 root thing"}) == [
        '%dir "/etc/plain"',
        '%dir "/etc/secret"',
        '%attr(0640,root,thing) %config(noreplace) "/etc/secret/key"',
        '"/usr/link"',
    ]
