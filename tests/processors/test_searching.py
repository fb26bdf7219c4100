"""The order of what folders and globs hold, however much that is, and what is followed."""

from __future__ import annotations

import glob
import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import OptionError
from sensorium.processors import ordering
from sensorium.processors.folders import FileSearch
from sensorium.processors.limits import MediaLimits
from sensorium.processors.ordering import in_order

FILES = ("a.jpg", "a/z.jpg", "a/b/c.jpg", "a/b.jpg", "a-b/c.jpg", "b.JPG", "é.jpg", ".h/x.jpg", "a/.x.jpg", "n.txt")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in FILES:
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "top"


def find(word, **more):
    return list(FileSearch("image", **more).expand(word))


def test_a_folder_is_in_the_order_of_its_paths(folder):
    names = ["a-b/c.jpg", "a.jpg", "a/b.jpg", "a/b/c.jpg", "a/z.jpg", "b.JPG", "é.jpg"]
    assert find("top") == find("top/") == [f"top/{name}" for name in names]
    os.chdir(folder)
    assert find(".") == names


@pytest.mark.parametrize(
    "pattern",
    [
        "top/*.jpg",
        "top/*/*.jpg",
        "top/**/*.jpg",
        "*/a/*.jpg",
        "top/*/b/c.jpg",
        "./top/[ab].*",
        "top/a*/../*.jpg",
        "**/c.jpg",
        "top/.h/*",
        "top/.*/*.jpg",
    ],
)
def test_a_glob_matches_what_pythons_does_each_once_and_sorted(folder, pattern):
    assert find(pattern) == sorted(set(glob.glob(pattern, recursive=True)))  # noqa: PTH207


def test_links_to_folders_are_followed_where_they_are_named(folder):
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    assert find("top/a/loop/a/b.jpg") == ["top/a/loop/a/b.jpg"]
    assert find("top/*/loop/b.*") == ["top/a/loop/b.JPG"]
    assert len(find("top")) == len(find("top/**/*.[jJ]*")) == 7


def test_more_names_than_are_sorted_at_once_keep_their_order(folder, monkeypatch):
    expected = find("top/**")
    monkeypatch.setattr(ordering, "AT_ONCE", 2)
    assert find("top/**") == expected


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)), st.integers(1, 5)
)
def test_names_are_sorted_through_files(names, at_once):
    assert list(in_order(names, at_once=at_once)) == sorted(names)


def test_most_of_very_many_names_wait_on_disk():
    tracemalloc.start()
    names = (f"{i * 7919 % 200_003:09}-with-a-rather-long-name.jpg" for i in range(200_000))
    last = ""
    for count, name in enumerate(in_order(names, at_once=5_000), 1):  # noqa: B007
        assert last < name
        last = name
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 6e6  # the names alone are 18 MB


def test_a_folder_that_vanishes_while_it_is_listed_is_an_input_that_fails(folder):
    search = FileSearch("image")
    found = search.expand("top")
    assert next(found) == "top/a-b/c.jpg" and next(found) == "top/a.jpg"
    os.rename(folder / "a", folder.parent / "moved")  # noqa: PTH104
    assert list(found) == ["top/a", "top/b.JPG", "top/é.jpg"]


def test_stamps_tell_size_and_time(folder):
    os.utime(folder / "a.jpg", ns=(1, 5))
    (found,) = FileSearch("image", stamped=True).find("top/a.jpg")
    assert found.stamp == "1 5"
    assert [each.stamp for each in FileSearch("image", stamped=True).find("top/a.*")] == ["1 5"]
    assert next(FileSearch("image", stamped=True).find("top/none.jpg")).stamp is None


@pytest.fixture
def bucket():
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for name in FILES:
        system.pipe_file(f"/bucket/{name}", b"x")
    yield "memory://bucket"
    system.store.clear()


@pytest.mark.parametrize("pattern", ["", "*.jpg", "**/*.jpg", "*/b/c.jpg", "a", "**"])
def test_remote_folders_and_globs_hold_what_local_ones_do(folder, bucket, pattern):
    local = [name.removeprefix("top/") for name in find(f"top/{pattern}")]
    assert [name.removeprefix(f"{bucket}/") for name in find(f"{bucket}/{pattern}", remote=True)] == local


def test_remote_words_stand_for_themselves_unless_they_are_searched(bucket):
    assert find(f"{bucket}/*.jpg") == [f"{bucket}/*.jpg"]
    assert find(f"{bucket}/none/*.jpg", remote=True) == [f"{bucket}/none/*.jpg"]
    assert all(each.stamp for each in FileSearch("image", remote=True, stamped=True).find(bucket))


def test_a_remote_folder_that_cannot_be_listed_is_told(bucket, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("no leave to list")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", refuse)
    with pytest.raises(OptionError, match="no leave to list"):
        find(f"{bucket}/**", remote=True)


PAGES = {
    "https://example.org/pics/": '<a href="../">up</a><A HREF="b.jpg">b</a><a href="/pics/a.jpg">a</a>'
    '<a href="more/">m</a><a href="https://elsewhere.org/c.jpg">c</a><a href="?sort=d">s</a><a href="n.txt">n</a>',
    "https://example.org/pics/more/": '<a href="c.jpg">c</a><a href="https://example.org/pics/../secret.jpg">s</a>',
}


def test_globs_of_a_web_server_follow_its_own_lists(monkeypatch):
    monkeypatch.setattr("sensorium.processors.trees.fetch", lambda url, **_: PAGES[url].encode())
    top = "https://example.org/pics"
    assert find(f"{top}/*.jpg", remote=True) == [f"{top}/a.jpg", f"{top}/b.jpg"]
    assert find(f"{top}/**/*.jpg", remote=True) == [f"{top}/a.jpg", f"{top}/b.jpg", f"{top}/more/c.jpg"]
    assert find(f"{top}/a.jpg?size=*", remote=True) == [f"{top}/a.jpg?size=*"]


def test_a_web_server_is_asked_within_the_limits_of_urls():
    with pytest.raises(OptionError, match="private or local"):
        find("http://127.0.0.1/pics/*.jpg", remote=True)
    with pytest.raises(OptionError, match="allow_urls"):
        find("https://example.org/pics/*.jpg", remote=True, limits=MediaLimits(allow_urls=False))


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A file below more folders than Python calls; they are removed here, since pytest would call itself for each."""
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("a")  # noqa: PTH102
        os.chdir("a")
    Path("x.jpg").touch()
    os.chdir(tmp_path)
    yield "a"
    for _ in range(1200):
        os.chdir("a")
    Path("x.jpg").unlink()
    for _ in range(1200):
        os.chdir("..")
        os.rmdir("a")  # noqa: PTH106


def test_a_path_of_many_folders_is_searched(deep):
    (found,) = find(deep)
    assert found.endswith("/a/x.jpg") and found.count("a/") == 1200
