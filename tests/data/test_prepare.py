import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image
from synthetic_cub import make_cub

from stackgan_cli.data import journal as partial_module
from stackgan_cli.data import prepare as prepare_module
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.crop import load_image, render
from stackgan_cli.data.journal import journal_path, partial_path
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.sources.cub import cub_records
from stackgan_cli.errors import ConfigError, DataError, EnvironmentProblem

SIZE = 32


@pytest.fixture(scope="module")
def cub(tmp_path_factory):
    return make_cub(tmp_path_factory.mktemp("cub"), per_class=20)


def make(source: Path, destination: Path, **options):
    return prepare(cub_records(source), destination, dataset="cub", **{"image_size": SIZE, "workers": 1, **options})


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("fit", ["squash", "keep"])
@pytest.mark.parametrize("workers", [1, 2])
def test_pixels_and_columns(cub, tmp_path, fit, workers):
    seen = []
    report = make(cub, tmp_path / "new" / "cub.h5", fit=fit, workers=workers, progress=lambda done, total: seen.append((done, total)))
    assert (report.num_images, report.num_train, report.num_test, report.num_captions) == (80, 40, 40, 320)
    assert seen[0] == (0, 80) and seen[-1] == (80, 80) and not report.skipped and not report.existed
    cache = Cache.open(report.path)
    for row, record in enumerate(cub_records(cub)):
        expected = np.asarray(render(load_image(record.image), record.box, image_size=SIZE, fit=fit, crop="box"))
        assert np.array_equal(cache.image(row), expected)
        assert cache.names[row] == record.name
        assert cache.captions[cache.caption_offsets[row] : cache.caption_offsets[row + 1]] == list(record.captions)
        x, y, w, h = cache.boxes[row]
        height, width = expected.shape[:2]
        assert min(x, y) >= -1e-3 and x + w <= width + 1e-3 and y + h <= height + 1e-3
        visible = cache.parts[row, :, 2] > 0
        assert visible.tolist() == [part % 3 != 0 for part in range(1, 16)]
        assert np.allclose(cache.parts[row, visible, :2], [x + w / 2, y + h / 2], atol=1e-3)
    assert leftovers(report.path.parent) == []


def test_number_of_processes_does_not_change_a_byte(cub, tmp_path):
    files = [make(cub, tmp_path / f"{workers}.h5", workers=workers).path.read_bytes() for workers in (1, 2, 3)]
    assert files[0] == files[1] == files[2]


def test_a_second_time_it_is_there_already(cub, tmp_path):
    first = make(cub, tmp_path / "cub.h5")
    stamp = first.path.stat().st_mtime_ns
    again = make(cub, tmp_path / "cub.h5")
    assert again.existed and again.num_images == 80 and first.path.stat().st_mtime_ns == stamp
    forced = make(cub, tmp_path / "cub.h5", force=True)
    assert not forced.existed and forced.path.stat().st_mtime_ns != stamp


def test_a_cache_with_other_settings_is_not_replaced(cub, tmp_path):
    make(cub, tmp_path / "cub.h5")
    with pytest.raises(DataError, match="image_size 32 instead of 40") as caught:
        make(cub, tmp_path / "cub.h5", image_size=40)
    assert "--force" in caught.value.hint
    assert make(cub, tmp_path / "cub.h5", image_size=40, force=True).num_images == 80
    assert Cache.open(tmp_path / "cub.h5").image_size == 40


@pytest.mark.parametrize("damage", ["version", "cut", "text"])
def test_a_cache_that_cannot_be_read_is_an_error_until_forced(cub, tmp_path, damage):
    path = make(cub, tmp_path / "cub.h5").path
    if damage == "version":
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = 0
    elif damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.write_text("hello")
    with pytest.raises(DataError) as caught:
        make(cub, path)
    assert caught.value.where == str(path)
    assert make(cub, path, force=True).num_images == 80


def spoil(folder: Path) -> tuple[str, str, str]:
    """Truncate one photograph, remove one caption file, replace one photograph by text; returns the three names."""
    records = cub_records(folder)
    cut, silent, text = records[3], records[10], records[17]
    cut.image.write_bytes(cut.image.read_bytes()[:-200])
    next(folder.glob(f"cvpr2016_cub/text_c10/*/{Path(silent.name).name}.txt")).unlink()
    text.image.write_text("no photograph")
    return cut.name, silent.name, text.name


@pytest.mark.parametrize("fit", ["squash", "keep"])
@pytest.mark.parametrize("workers", [1, 2])
def test_bad_images_are_left_out_and_counted(tmp_path, fit, workers):
    folder = make_cub(tmp_path / "cub", per_class=8)
    whole = Cache.open(make(folder, tmp_path / "whole.h5", fit=fit).path)
    bad = spoil(folder)
    report = make(folder, tmp_path / "cub.h5", fit=fit, workers=workers)
    reasons = dict(report.skipped)
    assert set(reasons) == set(bad) and report.num_images == 29
    assert "truncated" in reasons[bad[0]] and "no caption" in reasons[bad[1]] and "cannot be decoded" in reasons[bad[2]]
    cache = Cache.open(report.path)
    kept = [row for row, name in enumerate(whole.names) if name not in bad]
    assert cache.names == [whole.names[row] for row in kept]
    assert all(np.array_equal(cache.image(i), whole.image(row)) for i, row in enumerate(kept))
    assert np.array_equal(cache.boxes, whole.boxes[kept]) and np.array_equal(cache.class_ids, whole.class_ids[kept])
    assert cache.identity != whole.identity and leftovers(tmp_path) == []
    assert make(folder, tmp_path / "cub.h5", fit=fit).skipped == report.skipped


@pytest.mark.parametrize("fit", ["squash", "keep"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_strict_stops_at_a_bad_image(tmp_path, fit, which):
    folder = make_cub(tmp_path / "cub", per_class=8)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    bad = spoil(folder)
    for path, content in before.items():
        if Path(bad[which]).name not in path.name:
            path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        make(folder, tmp_path / "cub.h5", fit=fit, strict=True)
    assert Path(bad[which]).name in caught.value.where and not (tmp_path / "cub.h5").exists()


def test_nothing_usable(tmp_path):
    folder = make_cub(tmp_path / "cub", per_class=2)
    for path in folder.glob("CUB_200_2011/images/*/*.jpg"):
        path.write_text("no photograph")
    for fit in ("squash", "keep"):
        with pytest.raises(DataError, match="none of the 8 images"):
            make(folder, tmp_path / "cub.h5", fit=fit)
    for path in folder.glob("cvpr2016_cub/text_c10/*/*.txt"):
        path.unlink()
    with pytest.raises(DataError, match="no image has a caption"):
        make(folder, tmp_path / "cub.h5")
    assert not (tmp_path / "cub.h5").exists()


def test_settings_are_checked(cub, tmp_path):
    for options in ({"image_size": 1}, {"fit": "stretch"}, {"crop": "middle"}):
        with pytest.raises(ConfigError):
            make(cub, tmp_path / "cub.h5", **options)
    records = [*cub_records(cub), cub_records(cub)[0]]
    with pytest.raises(DataError, match="two images"):
        prepare(records, tmp_path / "cub.h5", dataset="cub")


# -- full disks -------------------------------------------------------------------------------------------------------------


def test_too_little_room_is_seen_beforehand(cub, tmp_path, monkeypatch):
    monkeypatch.setattr(partial_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(EnvironmentProblem, match="MiB are free"):
        make(cub, tmp_path / "cub.h5")
    assert not (tmp_path / "cub.h5").exists()


@pytest.mark.parametrize("place", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_fills_up(cub, tmp_path, monkeypatch, place):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, place, full)
        with pytest.raises(EnvironmentProblem, match="disk is full") as caught:
            make(cub, tmp_path / "cub.h5")
        assert caught.value.where == str(tmp_path / "cub.h5")
    assert not (tmp_path / "cub.h5").exists()
    assert make(cub, tmp_path / "cub.h5").num_images == 80


def test_a_file_size_limit_in_the_workers(cub, tmp_path):
    code = f"""
    import resource
    from pathlib import Path
    from stackgan_cli.data.prepare import prepare
    from stackgan_cli.data.sources.cub import cub_records
    import os
    del os.posix_fallocate  # as on a system that cannot reserve
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    import stackgan_cli.data.journal as partial
    create = partial.create_images
    def limited(*args):
        offset = create(*args)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
        return offset
    partial.create_images = limited
    prepare(cub_records(Path({str(cub)!r})), Path({str(tmp_path / "cub.h5")!r}), dataset="cub", image_size=32, workers=2)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert "EnvironmentProblem" in done.stderr and "disk is full" in done.stderr, done.stderr
    assert not (tmp_path / "cub.h5").exists()


def test_a_folder_that_cannot_be_written(cub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        make(cub, tmp_path / "file" / "cub.h5")


# -- kills ------------------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import stackgan_cli.data.journal as partial
import stackgan_cli.data.prepare as module
from stackgan_cli.data.sources.cub import cub_records

source, destination, fit, moment, workers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
partial.SYNC_SECONDS = 0.0


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def progress(done, total):
    if moment.isdigit() and done >= int(moment):
        die()


def around(name, before):
    real = getattr(module, name)
    def dying(*args):
        if not before:
            real(*args)
        die()
    setattr(module, name, dying)


if not moment.isdigit():
    name, _, when = moment.partition(":")
    around(name, when == "before")
if __name__ == "__main__":
    module.prepare(cub_records(source), destination, dataset="cub", image_size=32, fit=fit, workers=workers, progress=progress)
"""


def killed(tmp_path: Path, source: Path, destination: Path, moment: str, fit: str = "squash", workers: int = 2) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), str(source), str(destination), fit, moment, str(workers)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("fit", ["squash", "keep"])
def test_after_kills_the_same_bytes(cub, tmp_path, fit):
    whole = make(cub, tmp_path / "whole.h5", fit=fit).path.read_bytes()
    path = tmp_path / "cub.h5"
    moments = ["0", "16", "40", "80", "write_columns:before", "write_columns:after"] if fit == "squash" else ["33", "write_columns:after"]
    for moment in moments:
        killed(tmp_path, cub, path, moment, fit, workers=1 if moment == "40" else 2)
        assert not path.exists() and partial_path(path).exists()
    report = make(cub, path, fit=fit)
    assert report.resumed == 80  # the last two runs had rendered everything
    assert path.read_bytes() == whole and leftovers(tmp_path) == []


def test_killed_right_after_the_rename(cub, tmp_path):
    path = tmp_path / "cub.h5"
    killed(tmp_path, cub, path, "publish:after", workers=1)
    assert make(cub, path).existed


def test_a_kill_while_bad_images_are_packed(tmp_path):
    folder = make_cub(tmp_path / "cub", per_class=8)
    bad = spoil(folder)
    whole = make(folder, tmp_path / "whole.h5").path.read_bytes()
    killed(tmp_path, folder, tmp_path / "cub.h5", "write_columns:after", workers=1)
    report = make(folder, tmp_path / "cub.h5")
    assert report.resumed == 0  # 32 images are two chunks, each with a bad image: both are tried again
    assert set(dict(report.skipped)) == set(bad) and (tmp_path / "cub.h5").read_bytes() == whole
    assert leftovers(tmp_path) == []


def test_workers_end_with_their_parent(cub, tmp_path):
    killed(tmp_path, cub, tmp_path / "cub.h5", "16")
    marker = str(tmp_path / "killed.py").encode()

    def alive() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                links = [str(link.readlink()) for link in (entry / "fd").iterdir()]
            except OSError:
                continue
            if str(partial_path(tmp_path / "cub.h5")) in links or marker in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        return found

    end = time.monotonic() + 10
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert alive() == []


def test_another_request_starts_anew(cub, tmp_path):
    path = tmp_path / "cub.h5"
    killed(tmp_path, cub, path, "40", workers=1)
    assert make(cub, path, image_size=40).resumed == 0
    assert Cache.open(path).image_size == 40


def test_a_torn_journal(cub, tmp_path):
    path = tmp_path / "cub.h5"
    killed(tmp_path, cub, path, "write_columns:before", workers=1)
    journal = journal_path(path)
    journal.write_bytes(journal.read_bytes()[:-7])
    assert make(cub, path).resumed == 64
    assert path.read_bytes() == make(cub, tmp_path / "whole.h5").path.read_bytes()


def test_a_journal_of_nonsense(cub, tmp_path):
    path = tmp_path / "cub.h5"
    for nonsense in (b"", b"\x00\xff\n", b"[]\n", b'{"key": 1, "header": "!"}\n'):
        journal_path(path).write_bytes(nonsense)
        partial_path(path).write_bytes(b"abc")
        assert make(cub, path, force=True).resumed == 0
    assert path.read_bytes() == make(cub, tmp_path / "whole.h5").path.read_bytes()


def test_one_at_a_time(cub, tmp_path):
    path = tmp_path / "cub.h5"

    def second(done: int, total: int) -> None:
        if done == 16:
            with pytest.raises(DataError, match="another process"):
                make(cub, path)

    assert make(cub, path, progress=second).num_images == 80


def test_a_photograph_mended_after_a_kill_is_used(tmp_path):
    folder = make_cub(tmp_path / "cub", per_class=8)
    record = cub_records(folder)[5]
    content = record.image.read_bytes()
    record.image.write_bytes(content[:-100])
    killed(tmp_path, folder, tmp_path / "cub.h5", "write_columns:before", workers=1)
    record.image.write_bytes(content)
    report = make(folder, tmp_path / "cub.h5")
    assert report.resumed == 16 and report.num_images == 32 and not report.skipped


def test_memory_holds_no_pixels(cub, tmp_path, monkeypatch):
    # The painter returns only sizes, however large the images are.
    outcomes = []
    real = prepare_module.paint_all

    def spying(*args):
        for number, results in real(*args):
            outcomes.extend(results)
            yield number, results

    monkeypatch.setattr(prepare_module, "paint_all", spying)
    make(cub, tmp_path / "cub.h5")
    with Image.open(cub_records(cub)[0].image) as image:
        assert outcomes[0] == image.size and len(outcomes) == 80


@pytest.mark.parametrize("fit", ["squash", "keep"])
@pytest.mark.parametrize("crop", ["box", "none"])
def test_boxes_and_parts_that_are_not_finite(tmp_path, fit, crop):
    folder = make_cub(tmp_path / "cub")
    boxes, parts = (folder / "CUB_200_2011" / f"{name}.txt" for name in ("bounding_boxes", "parts/part_locs"))
    bad = {2: "2 nan 3.0 20.0 20.0", 3: "3 3.0 3.0 inf 20.0", 5: "5 3.0 3.0 20.0 -inf", 7: "7 1e300 3.0 20.0 20.0"}
    text = [bad.get(number, line) for number, line in enumerate(boxes.read_text().splitlines(), 1)]
    boxes.write_text("\n".join(text))
    lines = parts.read_text().splitlines()
    lines[15 * 8] = "9 1 nan 4.0 1"
    lines[15 * 9] = "10 1 3.0 4.0 nan"
    lines[15 * 10] = "11 1 nan nan 0"  # nobody reads the position of a part that is not visible
    parts.write_text("\n".join(lines))
    report = make(folder, tmp_path / "cub.h5", fit=fit, crop=crop)
    assert [int(name.rpartition("_")[2]) for name, _ in report.skipped] == [2, 3, 5, 7, 9, 10] and report.num_images == 10
    reasons = [reason for _, reason in report.skipped]
    assert all("bounding box" in reason for reason in reasons[:4]) and all("parts" in reason for reason in reasons[4:])
    cache = Cache.open(report.path)
    assert np.isfinite(cache.boxes).all() and np.isfinite(cache.parts).all()
    with pytest.raises(DataError, match="not finite"):
        make(folder, tmp_path / "strict.h5", strict=True)


def test_no_finite_box_at_all(tmp_path):
    folder = make_cub(tmp_path / "cub", per_class=1)
    (folder / "CUB_200_2011" / "bounding_boxes.txt").write_text("".join(f"{number} nan nan nan nan\n" for number in range(1, 5)))
    with pytest.raises(DataError, match="none of the 4 images"):
        make(folder, tmp_path / "cub.h5")


def test_a_strip_is_left_out_when_aspect_ratios_are_kept(tmp_path):
    folder = make_cub(tmp_path / "cub")
    first = cub_records(folder)[0]
    Image.new("RGB", (1, 3000)).save(first.image)
    boxes = folder / "CUB_200_2011" / "bounding_boxes.txt"
    boxes.write_text("\n".join(["1 0 0 1 3000", *boxes.read_text().splitlines()[1:]]))
    report = make(folder, tmp_path / "keep.h5", fit="keep")
    assert [name for name, _ in report.skipped] == [first.name] and "too narrow" in report.skipped[0][1]
    assert report.path.stat().st_size < 2**20 and make(folder, tmp_path / "squash.h5").num_images == 16


def test_special_modes_and_orientation_reach_the_cache(tmp_path):
    folder = make_cub(tmp_path / "cub")
    records = cub_records(folder)
    ramp = np.tile(np.linspace(0, 255, 120).astype(np.uint8), (100, 1))
    Image.fromarray(ramp.astype(np.uint16) * 257).save(records[0].image, "PNG")
    Image.fromarray(np.zeros((100, 120, 4), np.uint8)).save(records[1].image, "PNG")
    report = make(folder, tmp_path / "cub.h5", crop="none")
    expected = Image.fromarray(np.repeat(ramp[..., None], 3, 2)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    cache = Cache.open(report.path)
    assert np.array_equal(cache.image(0), np.asarray(expected)) and (cache.image(1) == 255).all()
