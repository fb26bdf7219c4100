"""Folders for what is on its way."""

from __future__ import annotations

from sensorium.checkpoints.passing import passing_folder


def test_what_nobody_holds_goes_with_the_next_and_nothing_else(tmp_path):
    (tmp_path / "work-abcdefgh").mkdir()
    (tmp_path / "work-abcdefgh" / "a file").touch()
    for other in ("work-of-mine", "other-abcdefgh", "work-ABCDEFGH"):
        (tmp_path / other).mkdir()
    with passing_folder("work-", within=tmp_path) as first, passing_folder("work-", within=tmp_path) as second:
        assert first.is_dir() and second.is_dir() and first != second
        assert not (tmp_path / "work-abcdefgh").exists()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["other-abcdefgh", "work-ABCDEFGH", "work-of-mine"]


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a file").touch()
    (tmp_path / "work-abcdefgh").symlink_to(tmp_path / "precious")
    with passing_folder("work-", within=tmp_path):
        pass
    assert (tmp_path / "precious" / "a file").exists()


def test_one_that_got_another_name_stays(tmp_path):
    with passing_folder("work-", within=tmp_path) as folder:
        folder.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
