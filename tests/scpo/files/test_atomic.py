import hashlib
import json
import math

import pytest

from scpo.files.atomic import atomic_path, hash_file, hash_once, write_json, write_text


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    read = []

    def count(path):
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr("scpo.files.atomic.hash_file", count)
    file = tmp_path / "folder" / "weights"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    first = hash_once(file)
    moved = file.parent.rename(tmp_path / "moved") / "weights"
    assert (hash_once(moved), len(read)) == (first, 1)
    moved.write_bytes(b"weightt")
    assert hash_once(moved) == hash_file(moved) != first
    moved.unlink()
    moved.write_bytes(b"weights")
    assert hash_once(moved) == first


def test_a_file_is_written_whole(tmp_path):
    file = tmp_path / "deep" / "er" / "file.txt"
    write_text(file, "héllo\n")
    assert file.read_bytes() == "héllo\n".encode()
    write_text(file, "again")
    assert file.read_text() == "again"
    assert [path.name for path in file.parent.iterdir()] == ["file.txt"]


def test_a_raise_inside_leaves_the_old_file(tmp_path):
    file = tmp_path / "file.txt"
    write_text(file, "old")

    def write_half():
        with atomic_path(file) as temporary:
            temporary.write_text("half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_the_target_is_untouched_until_the_end(tmp_path):
    file = tmp_path / "file.txt"
    write_text(file, "old")
    with atomic_path(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
        assert temporary.parent == file.parent
    assert file.read_text() == "new"


def test_a_reader_in_the_middle_goes_on_with_the_old_file(tmp_path):
    file = tmp_path / "file.txt"
    write_text(file, "old")
    with file.open(encoding="utf-8") as reader:
        write_text(file, "new")
        assert reader.read() == "old"


def test_writing_nothing_is_an_error_and_not_an_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_json_is_exact_and_refuses_what_json_has_not(tmp_path):
    file = tmp_path / "file.json"
    value = {"a": [1, 0.1, None, True], "é": "ü"}
    write_json(file, value)
    assert json.loads(file.read_text(encoding="utf-8")) == value
    assert "é" in file.read_text(encoding="utf-8")
    before = file.read_bytes()
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(file, {"a": number})
    assert file.read_bytes() == before


def test_what_may_have_no_end_is_not_hashed(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")  # a pipe would wait here for its writer
    for path in (tmp_path, tmp_path / "null"):
        with pytest.raises(
            ValueError, match=f"{path} is no file, but a folder, a pipe or a device"
        ):
            hash_file(path)


def test_hash_by_hand(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc" * 100000)
    assert hash_file(file) == hashlib.sha256(b"abc" * 100000).hexdigest()
