"""Files that the tools write."""

import json

import pytest

from hw.errors import UserError
from hw.files import check_folder, check_writable, write_bytes, write_json


def test_a_report_in_a_new_folder(tmp_path):
    path = tmp_path / "deep" / "report.json"
    check_writable(path, new_folders=True)
    with pytest.raises(UserError, match=f"^cannot write {path}: not a file in a folder that can"):
        check_writable(path)
    assert list(tmp_path.iterdir()) == []
    for report in ({"a": [1]}, {"b": None}):
        write_json(path, report)
        assert json.loads(path.read_text()) == report
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("new_folders", [False, True])
def test_what_cannot_be_a_file(tmp_path, new_folders):
    """A folder, and a file below a file; nothing is left behind."""
    (tmp_path / "file").write_text("old")
    for path in (tmp_path, tmp_path / "file" / "report.json"):
        with pytest.raises(UserError, match=f"^cannot write {path}: "):
            check_writable(path, new_folders=new_folders)
        with pytest.raises(UserError, match=f"^cannot write {path}: "):
            write_bytes(path, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_folders(tmp_path):
    (tmp_path / "file").write_text("")
    check_folder(tmp_path)
    check_folder(tmp_path / "deep" / "project")
    for path in (tmp_path / "file", tmp_path / "file" / "project"):
        with pytest.raises(UserError, match=f"^cannot write {path}: not a folder"):
            check_folder(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_links(tmp_path):
    """A link stays what it is; a device is written to, not replaced by a file."""
    (tmp_path / "file").write_text("old")
    for name, target in (("link", "file"), ("null", "/dev/null")):
        link = tmp_path / name
        link.symlink_to(target)
        check_writable(link)
        write_bytes(link, b"new")
        assert link.is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "null").is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "null"]


def test_no_file_is_asked_for():
    check_writable(None)
