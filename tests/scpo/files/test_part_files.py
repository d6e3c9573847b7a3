import hashlib

from scpo.files.part_files import find_parts, keyed_folder, write_part


def test_a_part_is_found_by_the_hash_of_its_bytes(tmp_path):
    write_part(tmp_path / "new", b"one", "bin")
    write_part(tmp_path / "new", b"two", "bin")
    paths, num_damaged = find_parts(tmp_path / "new", "bin")
    names = sorted(f"part-{hashlib.sha256(c).hexdigest()[:16]}.bin" for c in (b"one", b"two"))
    assert [path.name for path in paths] == names
    assert num_damaged == 0
    assert find_parts(tmp_path / "new", "other") == ([], 0)


def test_a_damaged_part_is_moved_aside(tmp_path):
    write_part(tmp_path, b"one", "bin")
    write_part(tmp_path, b"two", "bin")
    (first, second), _ = find_parts(tmp_path, "bin")
    first.write_bytes(b"none")
    assert find_parts(tmp_path, "bin") == ([second], 1)
    assert (tmp_path / "quarantine" / first.name).read_bytes() == b"none"
    assert find_parts(tmp_path, "bin") == ([second], 0)


def test_the_order_of_a_key_does_not_matter(tmp_path):
    one = keyed_folder(tmp_path, {"model": "a", "scheme": 1})
    assert one == keyed_folder(tmp_path, {"scheme": 1, "model": "a"})
    assert one != keyed_folder(tmp_path, {"model": "a", "scheme": 2})
    assert one.parent == tmp_path
    assert len(one.name) == 32
