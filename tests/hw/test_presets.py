"""Configurations by name, as JSON, and in files."""

import json

import pytest

from hw.config import Config
from hw.errors import UserError
from hw.presets import PRESETS, parse_config


@pytest.mark.parametrize("name", PRESETS)
def test_names_tell_the_lanes(name):
    assert parse_config(name) == PRESETS[name]
    assert PRESETS[name].lanes == int(name.split("-")[0])


def test_objects_and_files(tmp_path):
    text = json.dumps({"co_lanes": 8, "multiplier": "mult18", "requantisers": 4, "profile": False})
    (tmp_path / "core.json").write_text(text)
    expected = Config(co_lanes=8, multiplier="mult18", requantisers=4, profile=False)
    assert parse_config(text) == parse_config(str(tmp_path / "core.json")) == expected


@pytest.mark.parametrize(("content", "message"), [
    ("[1]", "a JSON object is needed"), ("{", "not JSON"), (b"\xff", "not JSON"),
    ('{"lanes": 3}', "'lanes' is unknown; fields are co_lanes, "),
    ('{"co_lanes": "8"}', "co_lanes is '8', needed: int"),
    ('{"co_lanes": true}', "co_lanes is True, needed: int"),
    ('{"multiplier": 1}', "multiplier is 1, needed: str"),
    ('{"profile": 1}', "profile is 1, needed: bool"),
    ('{"pixels": 3}', "pixels is 3, supported: 1, 2 or 4"),
])
def test_what_is_no_configuration(tmp_path, content, message):
    file = tmp_path / "core.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="^configuration") as raised:
        parse_config(str(file))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_no_such_file(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=f"^configuration {path}: .*; presets are 128-lanes, "):
            parse_config(str(path))
