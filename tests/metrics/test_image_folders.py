import json
from pathlib import Path

import pytest
from PIL import Image

from stackgan_cli.errors import DataError
from stackgan_cli.metrics.image_folders import image_files, own_files
from stackgan_cli.metrics.image_sets import FolderSet


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9, 99, 199)).save(folder / name)


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in image_files(folder)[0]]


def test_hidden_and_system_files_are_not_images(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b/c.JPG")
    images(tmp_path, ".ipynb_checkpoints/a-checkpoint.png", ".x.png", "b/.thumbs/c.png", "__MACOSX/a.png", "b/@eaDir/c.png")
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    assert names(tmp_path) == ["a.png", "b/c.JPG"] and not FolderSet(tmp_path).notes


def test_a_hidden_folder_may_itself_be_measured(tmp_path: Path) -> None:
    images(tmp_path / ".cache" / "set", "a.png")
    assert names(tmp_path / ".cache" / "set") == ["a.png"]


def test_own_grids_are_not_measured_but_other_grids_are(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png", "grid.png", "grid-64px.png", "grids.png", "grid-of-mine.png")
    everything = names(tmp_path)
    assert len(everything) == 6 and own_files(tmp_path) is None
    (tmp_path / "samples.json").write_text(
        json.dumps({"pictures": [{"file": "a.png"}, {"file": "../elsewhere.png"}, {"file": "gone.png"}]})
    )
    assert names(tmp_path) == ["a.png", "b.png", "grid-of-mine.png", "grids.png"]
    assert own_files(tmp_path) == {"a.png", "grid.png", "grid-64px.png"}
    (tmp_path / "other").mkdir()
    images(tmp_path / "other", "grid.png")
    assert "other/grid.png" in names(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pictures": [1]}', '{"pictures": null}', "\xff"])
def test_a_sidecar_that_is_not_ours_claims_nothing(tmp_path: Path, content: str) -> None:
    images(tmp_path, "grid.png")
    (tmp_path / "samples.json").write_text(content, encoding="latin-1")
    assert names(tmp_path) == ["grid.png"]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    images(tmp_path / "store", "2/a.png", "3/b.png", "3/deep/c.png")
    images(tmp_path / "set", "1/d.png")
    (tmp_path / "set" / "0").symlink_to(tmp_path / "store" / "2")
    (tmp_path / "set" / "3").symlink_to(tmp_path / "store" / "3")
    (tmp_path / "set" / "9").symlink_to(tmp_path / "store" / "3")  # a second time
    (tmp_path / "set" / "00").symlink_to(tmp_path / "set" / "1")  # a folder that is there anyway
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "1" / "up").symlink_to(tmp_path)
    (tmp_path / "store" / "3" / "back").symlink_to(tmp_path / "store" / "3")
    assert names(tmp_path / "set") == ["0/a.png", "1/d.png", "3/b.png", "3/deep/c.png"]


def test_a_linked_folder_may_be_the_one_to_measure(tmp_path: Path) -> None:
    images(tmp_path / "store", "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "b.png").symlink_to(tmp_path / "store" / "a.png")
    assert names(tmp_path / "link") == ["a.png"] and names(tmp_path / "files") == ["b.png"]


def test_other_types_are_read_or_counted(tmp_path: Path) -> None:
    images(tmp_path, "a.jfif", "b.avif", "c.ppm", "d.tga", "e.jp2", "f.GIF")
    (tmp_path / "g.heic").write_bytes(b"")
    (tmp_path / "h.heic").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "i.png").symlink_to(tmp_path / "nowhere.png")
    found = FolderSet(tmp_path)
    assert [path.name for path in found.files] == ["a.jfif", "b.avif", "c.ppm", "d.tga", "e.jp2"]
    assert found.notes == ("files that are not read: 1 .gif, 2 .heic", "links to files that do not exist: 1")
    assert found.description["left_out"] == list(found.notes)


def test_a_folder_of_other_types_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"no images .*1 .heic"):
        image_files(tmp_path)
