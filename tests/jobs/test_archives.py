"""Archives of samples as inputs: what a sample is, where its members lie, and archives that are damaged or hostile."""

from __future__ import annotations

import io
import tarfile

import fsspec
import pytest

from sensorium.errors import InputError, OptionError
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.raws import raw_inputs
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image
from tests import media

SAMPLES = {
    "a/0.jpg": media.jpeg(8, 6, seed=0),
    "a/0.json": '{"id": "é"}'.encode(),
    "a/1.txt": b"Who?",
    "a/1.seg.png": b"a mask",
    "a/1.PNG": media.jpeg(5, 4, seed=1),
    "../../etc/passwd.jpg": b"no picture",
    "nothing.txt": b"alone",
    ".hidden.jpg": b"",
}

pytestmark = pytest.mark.usefixtures("workers_in_process")


def archive(path, members=SAMPLES, **more):
    with tarfile.open(path, "w", **more) as tar:
        for name, content in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def listed(folder, given, *, inputs=("image",), optional=(), shard_size=2, named=None, **more):
    """The listing of archives, and what a pipeline gets of it."""
    facts = {}
    write_listing(
        folder, Inputs(given, named=named or {}, **more).batches(inputs, optional, facts), facts, shard_size=shard_size
    )
    listing = Listing(folder)
    rows = [listing.read(shard) for shard in range(listing.shards)]
    raws = [raw for table in rows for raw in raw_inputs(table, listing.facts, named or {})]
    return [row for table in rows for row in table.to_pylist()], raws, listing


def test_an_optional_picture_is_a_member_only_where_columns_say_so(tmp_path):
    path = archive(tmp_path / "x.tar", {"0.trimap.png": b"a trimap", "0.jpg": b"a picture"})
    given = {"inputs": ("image",), "optional": ("trimap", "mask")}
    (raw,) = listed(tmp_path, path, columns={"image": "jpg", "trimap": "trimap.png"}, **given)[1]
    assert {name: file.read() for name, file in raw.items()} == {"image": b"a picture", "trimap": b"a trimap"}
    (raw,) = listed(tmp_path, archive(tmp_path / "y.tar", {"0.jpg": b"a picture"}), **given)[1]
    assert (raw["image"] if isinstance(raw, dict) else raw).read() == b"a picture"
    with pytest.raises(OptionError, match="which of image, trimap"):
        listed(tmp_path, path, columns={"trimap": "trimap.png"}, **given)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_under_one_key_are_one_input(tmp_path, form):
    path = archive(tmp_path / "x.tar", format=form)
    rows, raws, listing = listed(tmp_path, path, carry=("json", "txt"))
    assert [row["source"] for row in rows] == [f"{path}#a/0", f"{path}#a/1", f"{path}#../../etc/passwd"]
    assert [row["json"] for row in rows] == ['{"id": "é"}', None, None]
    assert [row["txt"] for row in rows] == [None, "Who?", None]
    assert listing.facts["skipped"] == "1 hidden members, 1 samples without an input"
    assert load_image(raws[0]).shape == (3, 6, 8) and load_image(raws[0]).shape == (3, 6, 8)  # also again
    assert raws[2].read() == b"no picture"  # never a path of this machine
    raws[0].seek(0)
    assert raws[0].read(3) + raws[0].read() + raws[0].read() == SAMPLES["a/0.jpg"]


def test_columns_say_which_member_is_which_input(tmp_path):
    path = archive(tmp_path / "x.tar")
    _, raws, _ = listed(
        tmp_path,
        [path],
        inputs=("image", "question"),
        columns={"image": "seg.png", "question": "txt"},
    )
    assert [(raw["question"], raw["image"] and raw["image"].read()) for raw in raws] == [
        ("Who?", b"a mask"),
        ("alone", None),
    ]
    with pytest.raises(OptionError, match="--column question=txt"):
        listed(tmp_path, [path], inputs=("image", "question"))
    (raw, *_) = listed(tmp_path, [path], inputs=("image", "question"), named={"question": "What?"})[1]
    assert raw["question"] == "What?" and raw["image"].read() == SAMPLES["a/0.jpg"]


def test_globs_and_remote_archives_are_read_in_order(tmp_path):
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name in ("1.tar", "0.tar"):
        archive(tmp_path / name, {f"{name}.jpg": b"x" + name.encode(), "b.txt": b""})
        system.put_file(str(tmp_path / name), f"/bucket/{name}")
    _, raws, _ = listed(tmp_path, str(tmp_path / "*.tar"))
    assert [raw.read() for raw in raws] == [b"x0.tar", b"x1.tar"]
    rows, raws, _ = listed(tmp_path, "memory://bucket/*.tar")
    assert [row["source"] for row in rows] == ["memory://bucket/0.tar#0", "memory://bucket/1.tar#1"]
    assert [raw.read(2) + raw.read(100) for raw in raws] == [b"x0.tar", b"x1.tar"]
    system.store.clear()


def test_an_archive_that_has_changed_is_not_read(tmp_path):
    path = archive(tmp_path / "x.tar")
    _, raws, _ = listed(tmp_path, path)
    with (tmp_path / "x.tar").open("ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(InputError, match="the archive as it was") as caught:
        load_image(raws[0])
    assert caught.value.code == "unreadable-file"


def test_a_member_is_read_within_the_limits(tmp_path):
    _, raws, _ = listed(tmp_path, archive(tmp_path / "x.tar", {"a.jpg": b"x" * 5000}))
    with pytest.raises(InputError) as caught:
        load_image(raws[0], limits=MediaLimits(max_bytes=1000))
    assert caught.value.code == "too-many-bytes"


def made(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_links_devices_and_sparse_files_are_left_out(tmp_path):
    members = {
        made("l.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"): b"",
        made("h.jpg", type=tarfile.LNKTYPE, linkname="../x"): b"",
        made("d.jpg", type=tarfile.CHRTYPE): b"",
        made("s.jpg", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999"}): b"x",
        made("folder", type=tarfile.DIRTYPE): b"",
        "a.jpg": b"x",
    }
    rows, _, listing = listed(tmp_path, archive(tmp_path / "x.tar", members))
    assert [row["source"].rpartition("#")[2] for row in rows] == ["a"]
    assert listing.facts["skipped"] == "4 members that are no plain files"


def test_names_of_any_kind_are_names(tmp_path):
    names = ["a\nb.jpg", "caf\udce9.jpg", "x" * 5000 + "/y.jpg", "/abs.jpg", "0/../0.jpg"]
    rows, raws, _ = listed(tmp_path, archive(tmp_path / "x.tar", dict.fromkeys(names, b"x")))
    assert [raw.read() for raw in raws] == [b"x"] * 5
    assert max(len(row["source"]) for row in rows) <= 4097


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda data: data[:700], "unexpected end of data"),
        (lambda data: data[:1024] + b"x" * 600 + data[1624:], "no header of a member"),
        (lambda data: b"no archive" * 100, "cannot be read"),
        (lambda data: b"", "empty"),
        (lambda data: data[:124] + b"\xff" * 12 + data[136:], "cannot be read"),  # a negative size
        (lambda data: data[:124] + b"77777777777\0" + data[136:], "cannot be read"),  # 8 GiB
    ],
)
def test_damaged_archives_are_refused(tmp_path, spoil, told):
    path = tmp_path / "x.tar"
    archive(path, {"a.jpg": b"x" * 500, "b.jpg": b"y" * 500})
    data = spoil(path.read_bytes())
    if data[:1] == b"a" and data[124:136] not in (b"00000000764\0",):  # its header is right, but for the size
        total = sum(data[:148]) + 8 * 32 + sum(data[156:512])
        data = data[:148] + b"%06o\0 " % total + data[156:]
    path.write_bytes(data)
    with pytest.raises(OptionError, match=told):
        listed(tmp_path, str(path))


def test_headers_that_are_made_to_do_harm_are_refused(tmp_path):
    path = tmp_path / "x.tar"
    archive(path, {made("a.jpg", pax_headers={"comment": "x" * 100_000}): b"x"})
    with pytest.raises(OptionError, match=r"a header of .* bytes, more than"):
        listed(tmp_path, str(path))
    archive(path, {made(f"{i}", type=tarfile.XHDTYPE): b"" for i in range(3000)})  # a header of a header of a header …
    with pytest.raises(OptionError, match="cannot be read"):
        listed(tmp_path, str(path))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x.tar.gz", "packed"),
        ("https://example.org/x.tar", "web server"),
        ("gone.tar", "No such file"),
        (["x.tar", "a.jpg"], "came together"),
        ("gone*.tar", "stands for no file"),
    ],
)
def test_what_is_no_archive_that_can_be_read_is_refused(tmp_path, monkeypatch, given, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=told):
        listed(tmp_path, given)


def test_a_text_that_is_carried_has_its_limit(tmp_path):
    path = archive(tmp_path / "x.tar", {"a.jpg": b"x", "a.txt": b"x" * (2**20 + 1)})
    with pytest.raises(OptionError, match="1,048,577 bytes; expected at most"):
        listed(tmp_path, path, carry=("txt",))
    assert len(listed(tmp_path, path)[0]) == 1
