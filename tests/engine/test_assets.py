import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine import archive_tar
from falaj.engine.archive_tar import tar_stream
from falaj.engine.assets import contains_assets, hashed, read_asset
from falaj.engine.codec import from_wire
from falaj.engine.errors import UnsupportedError
from falaj.engine.values import UNKNOWN, Archive, Asset, Output, Secret

SCENARIO = Path(__file__).parent / "oracle" / "data" / "scenarios" / "34-assets"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def recorded() -> Iterator[Any]:
    for file in sorted(SCENARIO.glob("expected/step-*.json")):
        checkpoint = json.loads(file.read_text())["checkpoint"] or {}
        for resource in checkpoint.get("latest", {}).get("resources", ()):
            inputs = from_wire(without_marks(resource.get("inputs", {})))
            if contains_assets(inputs):
                yield pytest.param(inputs, id=f"{file.stem}-{resource['urn'].rpartition('::')[2]}")


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return (
            without_marks(value["<secret>"]) if "<secret>" in value else {k: without_marks(v) for k, v in value.items()}
        )
    return [without_marks(item) for item in value] if isinstance(value, list) else value


def without_digests(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_digests(item) for key, item in value.items()}
        case list():
            return [without_digests(item) for item in value]
        case Asset():
            return Asset("", value.text, value.path, value.uri)
        case Archive():
            return Archive("", without_digests(value.assets), value.path, value.uri)
        case _:
            return value


@pytest.mark.parametrize("inputs", list(recorded()))
def test_digests_are_those_of_the_cli(inputs: Any) -> None:
    assert hashed(without_digests(inputs), SCENARIO / "program") == inputs


@pytest.mark.parametrize("text", ["", "some text", "é\n"])
def test_the_digest_of_an_asset_is_that_of_its_bytes(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_bytes(text.encode())
    assert hashed(Asset(text=text), tmp_path).hash == hashed(Asset(path="file"), tmp_path).hash == sha256(text.encode())


def test_assets_are_found_at_any_depth(tmp_path: Path) -> None:
    plain = Asset(text="x")
    done = hashed(plain, tmp_path)
    value = {"a": [plain, Secret({"b": plain})], "c": Output(plain), "d": UNKNOWN, "e": 1}
    assert contains_assets(value)
    assert not contains_assets({"a": [1, Secret("x"), UNKNOWN]})
    assert hashed(value, tmp_path) == {
        "a": [done, Secret({"b": done})],
        "c": Output(done),
        "d": UNKNOWN,
        "e": 1,
    }


def test_elided_assets_keep_the_digest_they_have(tmp_path: Path) -> None:
    assert hashed([Asset("abc"), Archive("def")], tmp_path) == [Asset("abc"), Archive("def")]


NAMES = st.lists(st.text("ab-é", min_size=1, max_size=60), min_size=1, max_size=5).map("/".join)
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5)


@given(FILES)
def test_the_stream_is_a_tar_archive_of_the_same_files(files: dict[str, bytes]) -> None:
    stream = b"".join(tar_stream(files.items()))
    assert len(stream) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        members = {info.name: archive.extractfile(info) for info in archive}
        assert {name: member.read() for name, member in members.items() if member} == files
        assert all((info.mode, info.uid, info.mtime, info.uname) == (0o600, 0, 0, "") for info in archive.getmembers())


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("a" * 100, b""),
        ("d/" * 40 + "a" * 60, b"d/" * 39 + b"d"),
        ("p" * 90 + "/" + "q" * 30 + "/" + "r" * 40, b"p" * 90 + b"/" + b"q" * 30),
    ],
)
def test_long_names_are_split_at_the_last_slash_that_fits(name: str, prefix: bytes) -> None:
    header = b"".join(tar_stream([(name, b"")]))[:512]
    assert header[345:500].rstrip(b"\0") == prefix
    assert header[:100].rstrip(b"\0") == name.encode()[len(prefix) + bool(prefix) :]


def test_of_two_members_with_one_name_the_first_counts() -> None:
    assert b"".join(tar_stream([("a", b"1"), ("a", b"2")])) == b"".join(tar_stream([("a", b"1")]))


def test_directories_are_read_in_lexical_order_without_links_to_directories(tmp_path: Path) -> None:
    for name in ("b/z", "b/a", "b.txt", "a", ".pulumi/x", "deep/.pulumi/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link-to-folder").symlink_to("b")
    (tmp_path / "link-to-file").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    assert [name for name, _ in archive_tar.members(tmp_path)] == ["a", "b/a", "b/z", "b.txt", "link-to-file"]


def test_archive_files_inside_an_archive_are_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("one.txt", "1")
        packed.mkdir("folder")
        packed.writestr("folder/two.txt", "2")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        for name, text in (("one.txt", b"1"), ("folder/two.txt", b"2")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    expected = Archive(assets={"x": Archive(assets={"one.txt": Asset(text="1"), "folder/two.txt": Asset(text="2")})})
    wanted = sha256(b"".join(tar_stream([("x/one.txt", b"1"), ("x/folder/two.txt", b"2")])))
    for name in ("a.zip", "a.tgz"):
        assert hashed(Archive(assets={"x": Archive(path=name)}), tmp_path).hash == wanted
    assert hashed(expected, tmp_path).hash != wanted  # sorted by name, which an archive file need not be


def test_an_archive_file_by_itself_counts_by_its_bytes(tmp_path: Path) -> None:
    data = gzip.compress(b"anything", mtime=0)
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert hashed(Archive(path="a.tar.gz"), tmp_path).hash == sha256(data)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Asset(path="absent"), "absent does not exist"),
        (Archive(path="absent"), "absent does not exist"),
        (Archive(path="text.txt"), r"no archive: allowed are directories and \.tar"),
        (Archive(assets={"x": Archive(path="broken.zip")}), "broken.zip cannot be unpacked"),
        (Archive(assets={"x": Archive(path="broken.tar")}), "broken.tar cannot be unpacked"),
        (Archive(assets={"x": Asset(path="absent")}), "absent does not exist"),
        (Asset(path="folder"), "folder cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, value: Any, problem: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("text.txt", "broken.zip", "broken.tar"):
        (tmp_path / name).write_text("nothing of the kind")
    with pytest.raises(ValueError, match=problem):
        hashed(value, tmp_path)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="download it"):
        hashed(Asset(uri="https://example.com/x"), tmp_path)


def test_archives_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_tar, "MAX_FILES", 2)
    monkeypatch.setattr(archive_tar, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="more than 2 files or 10 bytes"):
        b"".join(tar_stream((str(number), b"") for number in range(3)))
    with pytest.raises(ValueError, match="more than 2 files or 10 bytes"):
        b"".join(tar_stream([("a", b"x" * 11)]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb", "0" * 1000)
    with pytest.raises(ValueError, match="holds more than 10 bytes"):
        list(archive_tar.members(tmp_path / "a.zip"))


def test_contents_are_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12345")
    assert read_asset(Asset(path="file"), tmp_path, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_asset(Asset(path="file"), tmp_path, 4)
