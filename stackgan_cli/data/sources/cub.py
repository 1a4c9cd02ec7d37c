"""CUB-200-2011 (Wah et al. 2011) with ten captions per image from Reed et al. (CVPR 2016), as their authors publish them.

The given folder may have any of the common layouts: `CUB_200_2011/` with images.txt and the other lists, and the captions in
`cvpr2016_cub/text_c10/CLASS/IMAGE.txt`, `birds/text*/CLASS/IMAGE.txt`, a `text_c10` or `text` folder beside the images, or one such
folder inside another. Caption folders are matched by name, then by number (`017.` and `17.` are the same), because 17 of the 200 names
are spelled differently there. Other datasets in this layout may have classes without numbers, or images without class folders.

The split is the class-disjoint one used by all the papers (150 training classes, 50 held out), not CUB's train_test_split.txt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np

from stackgan_cli.data.download import Progress, Remote, download, extract
from stackgan_cli.data.records import Record
from stackgan_cli.data.sources.base import Dataset, Gathered, SourceOptions, find_source
from stackgan_cli.data.text_files import UTF_8, decode, lines
from stackgan_cli.errors import DataError

# fmt: off
TEST_CLASSES = frozenset((
    1, 4, 6, 8, 9, 14, 23, 29, 31, 33, 34, 35, 36, 37, 38, 43, 49, 51, 53, 66, 72, 79, 83, 84, 86, 91, 95, 96, 98, 101, 102, 103, 112,
    114, 119, 121, 130, 135, 138, 147, 156, 163, 165, 166, 180, 183, 185, 186, 187, 197,
))
# fmt: on
"""Numbers of the 50 held-out classes (Reed et al., CVPR 2016; every StackGAN code)."""
NUM_PARTS = 15
LISTS = ("images.txt", "bounding_boxes.txt", "image_class_labels.txt", "classes.txt")
IMAGES = Remote(
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    file_name="CUB_200_2011.tgz",
    size=1_150_585_339,
    digest="md5:97eceeb196236b17998738112f37df78",  # the publisher states an MD5 but no SHA-256
)
CAPTION_ARCHIVES = ("cvpr2016_cub.tar.gz", "cvpr2016_cub.tgz", "birds.zip")
CAPTIONS_PAGE = "https://drive.google.com/open?id=0B0ywwgffWnLLZW9uVHNjb2JmNlE"
CAPTIONS_HINT = (
    "the captions are in the folder text_c10 of cvpr2016_cub.tar.gz (or text of birds.zip): put cvpr2016_cub/ beside CUB_200_2011/, "
    "and give the folder that contains both with --source"
)


@dataclass(frozen=True, eq=False)
class CubRecords(Sequence[Record]):
    """The images found in a CUB folder, in the order of images.txt. Captions are read when a record is accessed."""

    images: Path
    captions: Path
    names: tuple[str, ...]
    """`class_folder/image.jpg`, below `images`."""
    class_ids: np.ndarray
    class_names: dict[int, str]
    boxes: np.ndarray
    parts: np.ndarray | None
    caption_folders: dict[int, list[str]]
    """Number of a class -> names of the folders under `captions` that begin with it."""
    absent: int
    """Number of images in images.txt that are not in the folder."""

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name, class_id = self.names[index], int(self.class_ids[index])
        x, y, width, height = self.boxes[index].tolist()
        return Record(
            name=_without_suffix(name),
            image=self.images / name,
            captions=self._captions(index),
            class_name=self.class_names[class_id],
            split="test" if class_id in TEST_CLASSES else "train",
            box=(x, y, width, height),
            parts=None if self.parts is None else self.parts[index],
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def _captions(self, index: int) -> tuple[str, ...]:
        """The captions of an image, one per line of its file; empty when the file does not exist."""
        content = self._caption_file(index)
        if content is None:
            return ()
        # In a few files an old conversion turned each space into two U+FFFD; the released readers undo it the same way.
        found = (" ".join(line.replace("\ufffd", " ").split()) for line in lines(decode(content)[0]))
        return tuple(line for line in found if line)

    def _caption_file(self, index: int) -> bytes | None:
        """The content of the first file that may hold the captions of an image."""
        path = PurePosixPath(_without_suffix(self.names[index]))
        class_name = self.class_names[int(self.class_ids[index])]
        folder, image = (path.parts[0], "/".join(path.parts[1:])) if len(path.parts) > 1 else (class_name, path.name)
        for place in dict.fromkeys((f"{folder}/{image}", *(f"{other}/{image}" for other in self._folders_like(folder)), str(path))):
            try:
                return (self.captions / f"{place}.txt").read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def _folders_like(self, folder: str) -> list[str]:
        number = _number(folder)
        return [] if number is None else self.caption_folders.get(number, [])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about this copy."""
        listed = len(self) + self.absent
        encodings = Counter(decode(content)[1] for index in range(len(self)) if (content := self._caption_file(index)) is not None)
        absent = [f"{self.absent} of the {listed} images in images.txt are not in {self.images}"] if self.absent else []
        return (*absent, *(f"{count} caption files were read as {name}" for name, count in sorted(encodings.items()) if name != UTF_8))


def cub_records(source: Path) -> CubRecords:
    """Read the lists of a CUB-200-2011 copy; `source` is the `CUB_200_2011` folder or one that contains it.

    Raises DataError when the images, a list or the captions are missing, or when the copy is CUB-200 from 2010.
    """
    root = find_images(source)
    captions, folders = find_captions(source, root)
    names = _table(root / "images.txt", 1, str)
    labels = _table(root / "image_class_labels.txt", 1, int)
    boxes = _table(root / "bounding_boxes.txt", 4, float)
    classes = {number: values[0] for number, values in _table(root / "classes.txt", 1, str).items()}
    repeated = next((name for name, count in Counter(classes.values()).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"two classes are called {repeated!r}", where=root / "classes.txt", hint="give every class its own name")
    here = [number for number, values in names.items() if (root / "images" / values[0]).is_file()]
    if not here:
        raise DataError(
            f"none of the {len(names)} images in images.txt exist", where=root / "images", hint="extract CUB_200_2011.tgz again"
        )
    for table, path in ((labels, "image_class_labels.txt"), (boxes, "bounding_boxes.txt")):
        lacking = next((number for number in here if number not in table), None)
        if lacking is not None:
            raise DataError(f"has no line for image {lacking}", where=root / path, hint="extract CUB_200_2011.tgz again")
    unnamed = next((labels[number][0] for number in here if labels[number][0] not in classes), None)
    if unnamed is not None:
        raise DataError(f"has no line for class {unnamed}", where=root / "classes.txt", hint="extract CUB_200_2011.tgz again")
    records = CubRecords(
        images=root / "images",
        captions=captions,
        names=tuple(names[number][0] for number in here),
        class_ids=np.array([labels[number][0] for number in here]),
        class_names=classes,
        boxes=_float32([boxes[number] for number in here]),
        parts=_parts(root / "parts" / "part_locs.txt", here),
        caption_folders=folders,
        absent=len(names) - len(here),
    )
    if not any(record.captions for record in records):
        raise DataError("no image has a caption", where=captions, hint=CAPTIONS_HINT)
    return records


def obtain_cub(folder: Path, progress: Progress | None = None) -> Path:
    """Put CUB into `folder`: unpack the archives found there, download the images. Returns `folder`.

    Raises DataError when the captions are missing: downloading them needs a browser.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _caption_root(folder, folder / "CUB_200_2011") is None:
        archive = next((folder / name for name in CAPTION_ARCHIVES if (folder / name).is_file()), None)
        if archive is None:
            raise DataError(
                "the captions of CUB cannot be downloaded without a browser",
                where=folder,
                hint=f"get cvpr2016_cub.tar.gz from {CAPTIONS_PAGE}, save it as {folder / CAPTION_ARCHIVES[0]}, and run again; "
                "or give a folder that contains images and captions with --source",
            )
        extract(archive, folder)
    if _image_root(folder) is None:
        extract(download(IMAGES, folder, progress), folder)
    return folder


def _image_places(source: Path) -> tuple[Path, ...]:
    return source, source / "CUB_200_2011", source / "birds" / "CUB_200_2011", source / "CUB_200_2011" / "CUB_200_2011"


def _image_root(source: Path) -> Path | None:
    wanted = (*LISTS, "images")
    return next((root for root in _image_places(source) if all((root / name).exists() for name in wanted)), None)


def holds_cub(source: Path) -> bool:
    """Whether a folder contains the images of CUB-200-2011 and captions."""
    root = _image_root(source)
    return root is not None and _caption_root(source, root) is not None


def find_images(source: Path) -> Path:
    """The folder with images.txt and images/. Raises DataError, which distinguishes CUB-200 from 2010 from a folder without CUB."""
    if not source.is_dir():
        raise DataError("no such folder", where=source, hint="give the folder that contains CUB_200_2011/ with --source")
    root = _image_root(source)
    if root is not None:
        return root
    for root in _image_places(source):
        if (root / "annotations-mat").is_dir() or (root / "lists" / "files.txt").is_file() or root.resolve().name == "CUB_200_2010":
            raise DataError(
                "this is CUB-200 from 2010, which has different images",
                where=root,
                hint="the captions belong to CUB-200-2011: download CUB_200_2011.tgz",
            )
    for root in _image_places(source):
        missing = [name for name in (*LISTS, "images") if not (root / name).exists()]
        if len(missing) <= len(LISTS):
            raise DataError(f"{', '.join(missing)} not found", where=root, hint="extract CUB_200_2011.tgz again")
    raise DataError("no CUB-200-2011 in this folder", where=source, hint="give the folder that contains CUB_200_2011/ with --source")


def _caption_root(source: Path, root: Path) -> tuple[Path, dict[int, list[str]]] | None:
    bases = dict.fromkeys(
        base / below for base in (source, root.parent, root, root.parent.parent) for below in ("cvpr2016_cub", "birds", ".")
    )
    for base in bases:
        for folder in (place for outer in _text_folders(base) for place in (outer, *_text_folders(outer))):
            nested = {path.name for path in _text_folders(folder) if next(path.glob("*/*.txt"), None) is not None}
            classes = [path.name for path in sorted(folder.iterdir()) if path.name not in nested and _is_class(path)]
            if classes or next(folder.glob("*.txt"), None) is not None:
                numbered: dict[int, list[str]] = {}
                for name in classes:
                    if (number := _number(name)) is not None:
                        numbered.setdefault(number, []).append(name)
                return folder, numbered
    return None


def _text_folders(base: Path) -> list[Path]:
    """Subfolders that may contain captions, `text_c10` first."""
    return sorted((path for path in base.glob("text*") if path.is_dir()), key=lambda path: (path.name != "text_c10", path.name))


def _is_class(path: Path) -> bool:
    return path.is_dir() and (_number(path.name) is not None or next(path.rglob("*.txt"), None) is not None)


def find_captions(source: Path, root: Path) -> tuple[Path, dict[int, list[str]]]:
    """The folder of captions, and its class folders by their numbers. Raises DataError when there are no captions."""
    found = _caption_root(source, root)
    if found is None:
        raise DataError("there are no captions here", where=source, hint=CAPTIONS_HINT)
    return found


def _number(folder: str) -> int | None:
    """The number that a class folder begins with, as in `017.Cardinal`."""
    match = re.match(r"([0-9]+)\.", folder)
    return int(match[1]) if match else None


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _float32(values: Sequence[Sequence[float]]) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large a number becomes infinite, which is an error of that image only
        return np.array(values, np.float32)


def _table(path: Path, columns: int, kind: type) -> dict[int, tuple]:
    """Lines `number value...` as {number: values}. Raises DataError for a malformed line."""
    table: dict[int, tuple] = {}
    for number, line in enumerate(lines(decode(path.read_bytes())[0]), 1):
        if not line.strip():
            continue
        fields = line.split() if kind is not str else line.strip().split(None, 1)  # names may contain spaces
        try:
            if len(fields) != columns + 1:
                raise ValueError
            table[int(fields[0])] = tuple(kind(value) for value in fields[1:])
        except ValueError:
            raise DataError(f"line {number} is malformed: {line[:60]!r}", where=path, hint="extract it again") from None
    return table


def _parts(path: Path, here: Sequence[int]) -> np.ndarray | None:
    """(len(here), 15, 3) float32 x, y, visible; None when the list does not exist."""
    if not path.is_file():
        return None
    place = {number: i for i, number in enumerate(here)}
    parts = np.zeros((len(here), NUM_PARTS, 3), np.float32)
    for number, line in enumerate(lines(decode(path.read_bytes())[0]), 1):
        try:
            image, part, x, y, visible = line.split()
            if not 1 <= int(part) <= NUM_PARTS:
                raise ValueError
            if int(image) in place:
                parts[place[int(image)], int(part) - 1] = float(x), float(y), float(visible)
        except ValueError:
            raise DataError(f"line {number} is malformed: {line[:60]!r}", where=path, hint="extract it again") from None
    return parts


def _gather(options: SourceOptions) -> Gathered:
    source = options.source or find_source("cub", options.workspace, holds_cub)
    records = cub_records(source or obtain_cub(options.workspace / "downloads" / "cub", options.progress))
    return Gathered(records, records.notes)


DATASET = Dataset("cub", "CUB-200-2011 with ten captions per image, in its authors' layout", _gather, preset="v1-stage2")
