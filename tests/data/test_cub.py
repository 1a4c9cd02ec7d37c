import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from synthetic_cub import CLASSES, make_cub

from stackgan_cli.config.presets import preset_names
from stackgan_cli.data.crop import box_crop, crop_window, fitted_size, load_image, move_box, move_parts, render
from stackgan_cli.data.sources import DATASETS, SourceOptions, dataset_names, dataset_of, gather
from stackgan_cli.data.sources.cub import CAPTION_ARCHIVES, TEST_CLASSES, cub_records, obtain_cub
from stackgan_cli.errors import DataError, UsageError

SHARED = Path(os.environ.get("STACKGAN_SHARED", Path(__file__).parents[3] / "shared"))
REAL = SHARED / "data" / "cub"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no photographs of CUB at {REAL}")


def published_crop(pixels: np.ndarray, box: list[str]) -> np.ndarray:
    """The crop of the released code, computed from its formula with array slices."""
    x, y, w, h = (int(float(value)) for value in box)
    rows, columns = pixels.shape[:2]
    radius = int(np.maximum(w, h) * 0.75)
    centre = np.array([int((2 * y + h) / 2), int((2 * x + w) / 2)])
    low, high = np.maximum(0, centre - radius), np.minimum([rows, columns], centre + radius)
    return pixels[low[0] : high[0], low[1] : high[1]]


@needs_real
def test_crop_of_every_real_photograph_is_the_published_one():
    root = REAL / "CUB_200_2011"
    boxes = {line.split()[0]: line.split()[1:] for line in (root / "bounding_boxes.txt").read_text().splitlines()}
    files = dict(line.split() for line in (root / "images.txt").read_text().splitlines())
    records = {record.name: record for record in cub_records(REAL)}
    for number, name in files.items():
        record = records[name.removesuffix(".jpg")]
        with Image.open(root / "images" / name) as image:
            width, height = image.size
        # An image of coordinates shows which pixels a crop keeps.
        rows, columns = np.mgrid[:height, :width].astype(np.int32)
        expected = published_crop(np.stack([rows, columns], 2), boxes[number])
        left, top, right, bottom = box_crop(width, height, record.box)
        assert expected.shape[:2] == (bottom - top, right - left)
        assert tuple(expected[0, 0]) == (top, left) and tuple(expected[-1, -1]) == (bottom - 1, right - 1)
    assert len(files) == len(records) == 1258


@needs_real
def test_real_photographs_split_into_275_and_983_with_ten_captions_each():
    records = cub_records(REAL)
    splits = [record.split for record in records]
    assert splits.count("train") == 275 and splits.count("test") == 983
    assert {len(record.captions) for record in records} == {10}
    assert not any("\ufffd" in caption for record in records for caption in record.captions)


@needs_real
def test_pixels_of_a_real_photograph():
    record = next(record for record in cub_records(REAL) if record.split == "train")
    whole = np.asarray(Image.open(record.image).convert("RGB"))
    cropped = published_crop(whole, [str(value) for value in record.box])
    expected = Image.fromarray(cropped).resize((304, 304), Image.Resampling.BILINEAR)
    assert np.array_equal(render(load_image(record.image), record.box, image_size=304, fit="squash", crop="box"), expected)


@needs_real
def test_held_out_classes_are_those_of_the_published_lists():
    records = cub_records(REAL)
    for split in ("train", "test"):
        published = (REAL / f"stackgan_{split}.txt").read_text().split()
        assert sorted(published) == sorted(record.name for record in records if record.split == split)
    assert len(TEST_CLASSES) == 50 and max(TEST_CLASSES) <= 200


def test_kept_aspect_has_the_asked_shorter_side():
    assert fitted_size(200, 100, 304, "keep") == (608, 304)
    assert fitted_size(100, 333, 304, "keep") == (304, 1012)
    assert fitted_size(100, 333, 304, "squash") == (304, 304)


def test_a_moved_box_and_part_mark_the_same_pixels():
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[40:60, 70:110] = 255  # the box
    box, part = (70.0, 40.0, 40.0, 20.0), np.array([[90, 50, 1], [5, 5, 1], [0, 0, 0]], np.float32)
    window = crop_window(160, 120, box, "box")
    x, y, w, h = move_box(box, window, (96, 96))
    image = np.asarray(render(Image.fromarray(pixels), box, image_size=96, fit="squash", crop="box"))[..., 0]
    ys, xs = np.nonzero(image > 127)
    assert abs(xs.min() - x) <= 1 and abs(xs.max() + 1 - (x + w)) <= 1
    assert abs(ys.min() - y) <= 1 and abs(ys.max() + 1 - (y + h)) <= 1
    moved = move_parts(part, window, (96, 96))
    assert np.allclose(moved[0], [x + w / 2, y + h / 2, 1])
    assert not moved[1:].any()  # outside the crop, or not visible


def test_a_box_beside_the_image_is_an_error():
    with pytest.raises(DataError, match="is outside the"):
        crop_window(100, 100, (500.0, 10.0, 20.0, 20.0), "box")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))).convert("RGB" if mode in ("RGBA", "CMYK", "P") else "L").convert(
        mode
    ).save(path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (64, 48)
    assert np.asarray(image).std() > 20


@pytest.mark.parametrize("captions", ["cvpr2016_cub/text_c10", "birds/text", "birds/text_c10", "text_c10", "text"])
def test_layouts_and_differently_spelled_folders(tmp_path, captions):
    make_cub(tmp_path, captions=captions)
    for source in (tmp_path, tmp_path / "CUB_200_2011"):
        records = cub_records(source)
        assert len(records) == 16
        assert all(len(record.captions) == 4 for record in records)
        assert {record.class_name for record in records} == {name for name, _ in CLASSES.values()}
        assert {record.class_name for record in records if record.split == "test"} == {"009.Brewer_Blackbird", "014.Indigo_Bunting"}
    assert records[0].name == "002.Laysan_Albatross/Laysan_Albatross_0000_1"
    assert [record.name for record in records[1:3]] == [record.name for record in records][1:3]


def test_absent_images_are_left_out_and_told(tmp_path):
    make_cub(tmp_path)
    for path in (tmp_path / "CUB_200_2011" / "images" / "014.Indigo_Bunting").iterdir():
        path.unlink()
    gathered = gather("cub", SourceOptions(source=tmp_path))
    assert len(gathered.records) == 12
    assert "4 of the 16" in gathered.notes[0]


def _remove_captions(folder: Path) -> None:
    (folder / "cvpr2016_cub").rename(folder / "elsewhere")


def _make_2010(folder: Path) -> None:
    root = folder / "CUB_200_2011"
    for name in ("images.txt", "bounding_boxes.txt", "image_class_labels.txt", "classes.txt"):
        (root / name).unlink()
    (root / "lists").mkdir()
    (root / "lists" / "files.txt").write_text("001.Black_footed_Albatross/Black_footed_Albatross_0001_1019598983.jpg\n")
    (root / "annotations-mat").mkdir()


def _remove_list(folder: Path) -> None:
    (folder / "CUB_200_2011" / "bounding_boxes.txt").unlink()


def _spoil_list(folder: Path) -> None:
    with (folder / "CUB_200_2011" / "bounding_boxes.txt").open("a") as file:
        file.write("17 a b c\n")


def _shorten_list(folder: Path) -> None:
    path = folder / "CUB_200_2011" / "image_class_labels.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def _forget_class(folder: Path) -> None:
    path = folder / "CUB_200_2011" / "classes.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def _spoil_parts(folder: Path) -> None:
    with (folder / "CUB_200_2011" / "parts" / "part_locs.txt").open("a") as file:
        file.write("1 99 3.0 4.0 1\n")


def _remove_images(folder: Path) -> None:
    for path in (folder / "CUB_200_2011" / "images").glob("*/*.jpg"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove_captions, "no captions"),
        (_make_2010, "2010"),
        (_remove_list, "bounding_boxes.txt not found"),
        (_spoil_list, "line 17"),
        (_shorten_list, "no line for image 16"),
        (_forget_class, "no line for class 22"),
        (_spoil_parts, "line 241"),
        (_remove_images, "none of the 16 images"),
    ],
)
def test_a_spoiled_folder_is_one_clear_error(tmp_path, spoil, message):
    make_cub(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        cub_records(tmp_path)
    assert caught.value.hint and caught.value.where


def test_a_folder_without_cub(tmp_path):
    with pytest.raises(DataError, match="no CUB-200-2011"):
        cub_records(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        cub_records(tmp_path / "nowhere")


def test_without_captions_nothing_is_downloaded_and_the_error_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("went to the network"))
    with pytest.raises(DataError, match="browser") as caught:
        obtain_cub(tmp_path / "downloads")
    assert str(tmp_path / "downloads" / CAPTION_ARCHIVES[0]) in caught.value.hint


def test_bare_cub_is_found_in_the_usual_places(tmp_path, monkeypatch):
    monkeypatch.delenv("STACKGAN_DATA", raising=False)
    make_cub(tmp_path / "work" / "data" / "cub")
    make_cub(tmp_path / "store", per_class=2)
    assert len(gather("cub", SourceOptions(workspace=tmp_path / "work")).records) == 16
    monkeypatch.setenv("STACKGAN_DATA", str(tmp_path / "store"))
    assert len(gather("cub", SourceOptions(workspace=tmp_path / "work")).records) == 8


def test_the_table_of_datasets(tmp_path):
    assert dataset_names() == list(DATASETS) == ["demo", "cub", "mnist", "svhn", "cifar10", "digits"]
    for row in DATASETS.values():
        assert {row.preset, row.text_encoder, row.classifier, row.judge} - {None} <= set(preset_names())
    assert dataset_of(SimpleNamespace(dataset="digits")).judge == "sgan-encoder-digits"
    assert dataset_of(SimpleNamespace(dataset="mine")) is DATASETS["cub"]
    assert len(gather("demo", SourceOptions(count=120)).records) == 120
    with pytest.raises(UsageError, match="did you mean 'cub'"):
        gather("cubs", SourceOptions())
    for name, options in (("demo", SourceOptions(source=tmp_path)), ("cub", SourceOptions(count=5))):
        with pytest.raises(UsageError):
            gather(name, options)


def lists(folder: Path, *names: str) -> list[Path]:
    return [folder / "CUB_200_2011" / f"{name}.txt" for name in names or ("images", "bounding_boxes", "image_class_labels", "classes")]


def caption_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("cvpr2016_cub/text_c10/*/*.txt"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_lists_and_captions_in_every_encoding_and_with_every_line_end(tmp_path, encoding, end):
    make_cub(tmp_path)
    expected = [record.captions for record in cub_records(tmp_path)]
    for path in (*lists(tmp_path), *lists(tmp_path, "parts/part_locs"), *caption_files(tmp_path)):
        path.write_bytes(path.read_text().replace("\n", end).encode(encoding))
    records = cub_records(tmp_path)
    assert [record.captions for record in records] == expected
    assert [np.isfinite(record.parts).all() for record in records] == [True] * 16


def test_captions_that_are_not_utf_8_are_counted(tmp_path):
    make_cub(tmp_path)
    first, second, third, *_ = caption_files(tmp_path)
    first.write_bytes("a caf\u00e9 bird\n".encode("cp1252"))
    second.write_bytes("one bird\n\n two birds ".encode("utf-16"))
    third.write_bytes(b"this\xef\xbf\xbd\xef\xbf\xbdbird\r\n")
    records = cub_records(tmp_path)
    assert [record.captions for record in records[:3]] == [("a caf\u00e9 bird",), ("one bird", "two birds"), ("this bird",)]
    assert records.notes == ("1 caption files were read as UTF-16", "1 caption files were read as Windows-1252")


def rename_classes(folder: Path, rename) -> None:
    """Rename the class folders of images and captions, and the classes of the lists."""
    for parent in (folder / "CUB_200_2011" / "images", folder / "cvpr2016_cub" / "text_c10"):
        for number, path in enumerate(sorted(parent.iterdir())):
            (parent / rename(number)).parent.mkdir(parents=True, exist_ok=True)
            path.rename(parent / rename(number))
    for path in lists(folder, "images", "classes"):
        text = path.read_text()
        for number, (_, (name, _)) in enumerate(CLASSES.items()):
            text = text.replace(name, rename(number))
        path.write_text(text)


@pytest.mark.parametrize("rename", ["bird_{}".format, "7.bird {}".format, "birds/of/{}".format, "{}".format, "00{}".format])
def test_classes_are_told_apart_by_their_whole_names(tmp_path, rename):
    make_cub(tmp_path)
    expected = [record.captions for record in cub_records(tmp_path)]
    rename_classes(tmp_path, rename)
    records = cub_records(tmp_path)
    assert [record.captions for record in records] == expected and len({record.class_name for record in records}) == 4
    assert records[0].name == f"{rename(0)}/Laysan_Albatross_0000_1"


def test_caption_folders_of_one_number_do_not_hide_each_other(tmp_path):
    make_cub(tmp_path)
    (tmp_path / "cvpr2016_cub" / "text_c10" / "022.Another").mkdir()
    (tmp_path / "cvpr2016_cub" / "text_c10" / "22.Zebra").mkdir()
    assert all(len(record.captions) == 4 for record in cub_records(tmp_path))


@pytest.mark.parametrize("flat_captions", [False, True])
def test_images_without_class_folders(tmp_path, flat_captions):
    make_cub(tmp_path)
    expected = [record.captions for record in cub_records(tmp_path)]
    for path in (tmp_path / "CUB_200_2011" / "images").glob("*/*.jpg"):
        path.rename(path.parents[1] / path.name)
    for path in caption_files(tmp_path) if flat_captions else []:
        path.rename(path.parents[1] / path.name)
    [images] = lists(tmp_path, "images")
    images.write_text("".join(f"{line.split()[0]} {line.rpartition('/')[2]}\n" for line in images.read_text().splitlines()))
    records = cub_records(tmp_path)
    assert [record.captions for record in records] == expected
    assert records[0].name == "Laysan_Albatross_0000_1" and records[0].class_name == "002.Laysan_Albatross"


@pytest.mark.parametrize("captions", ["birds/text/text", "text/text_c10", "CUB_200_2011/text/text"])
def test_text_folders_in_text_folders(tmp_path, captions):
    make_cub(tmp_path, captions=captions)
    assert all(len(record.captions) == 4 for record in cub_records(tmp_path))


def test_file_names_may_contain_spaces_and_class_numbers_may_be_large(tmp_path):
    make_cub(tmp_path)
    images, labels, classes = lists(tmp_path, "images", "image_class_labels", "classes")
    image = next((tmp_path / "CUB_200_2011" / "images").glob("002.*/*_1.jpg"))
    image.rename(image.with_name("my bird 1.jpg"))
    images.write_text(images.read_text().replace("Laysan_Albatross_0000_1.jpg", "my bird 1.jpg"))
    classes.write_text(classes.read_text().replace("22 ", "70000 "))
    labels.write_text("".join(line.replace(" 22", " 70000") + "\n" for line in labels.read_text().splitlines()))
    records = cub_records(tmp_path)
    assert records[0].name == "002.Laysan_Albatross/my bird 1" and records[-1].class_name == "022.Chuck_will_Widow"


def test_two_classes_of_one_name_are_an_error(tmp_path):
    make_cub(tmp_path)
    [classes] = lists(tmp_path, "classes")
    classes.write_text(classes.read_text().replace("009.Brewer_Blackbird", "014.Indigo_Bunting"))
    with pytest.raises(DataError, match=r"two classes are called '014.Indigo_Bunting'"):
        cub_records(tmp_path)


@pytest.mark.parametrize("part", [0, -1, 16])
def test_a_part_that_does_not_exist_is_an_error(tmp_path, part):
    make_cub(tmp_path)
    with (tmp_path / "CUB_200_2011" / "parts" / "part_locs.txt").open("a") as file:
        file.write(f"1 {part} 3.0 4.0 1\n")
    with pytest.raises(DataError, match="line 241"):
        cub_records(tmp_path)
