import contextlib
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic_cub import make_cub

from stackgan_cli.data import download as module
from stackgan_cli.data.download import Remote, download, extract
from stackgan_cli.data.sources import SourceOptions, cub, gather
from stackgan_cli.errors import DataError, EnvironmentProblem

CONTENT = bytes(range(256)) * 12000  # 3 MB


class Server:
    """Serves `content` on 127.0.0.1. `cuts` lists numbers of bytes, each of which ends one connection early."""

    def __init__(self, content: bytes = CONTENT, ranges: bool = True, cuts: tuple[int, ...] = (), status: int = 200) -> None:
        self.content, self.ranges, self.cuts, self.status = content, ranges, list(cuts), status
        self.requests: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.requests.append(wanted)
                if outer.status != 200:
                    self.send_error(outer.status)
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and outer.ranges else 0
                body = outer.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(outer.content) - 1}/{len(outer.content)}")
                self.end_headers()
                self.wfile.write(body[: outer.cuts.pop(0)] if outer.cuts else body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def remote(self, kind: str = "sha256", content: bytes = CONTENT) -> Remote:
        url = f"http://127.0.0.1:{self.server.server_port}/set.tgz"
        return Remote(url, "set.tgz", len(content), f"{kind}:{hashlib.new(kind, content).hexdigest()}")


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    started = []

    def start(*args, **kwargs) -> Server:
        started.append(Server(*args, **kwargs))
        return started[-1]

    yield start
    for server in started:
        server.server.shutdown()
        server.server.server_close()


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_file_is_fetched_once(serve, tmp_path, kind):
    server, seen = serve(), []
    path = download(server.remote(kind), tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert download(server.remote(kind), tmp_path / "new") == path and server.requests == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["set.tgz"]


def test_dropped_connections_are_taken_up_again(serve, tmp_path):
    server = serve(cuts=(1_000_000, 500_000))
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.requests[0] is None and server.requests[1] == "bytes=1000000-" and server.requests[2] == "bytes=1500000-"


def test_a_part_of_an_earlier_run_is_continued(serve, tmp_path):
    server = serve()
    (tmp_path / "set.tgz.part").write_bytes(CONTENT[:2_000_000])
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=2000000-"]


def test_a_server_without_ranges_sends_all_again(serve, tmp_path):
    server = serve(ranges=False)
    (tmp_path / "set.tgz.part").write_bytes(b"x" * 1000)
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT


def test_giving_up_keeps_the_part(serve, tmp_path):
    server = serve(cuts=(100_000,) * 4)
    with pytest.raises(EnvironmentProblem, match="400,000 of 3,072,000") as caught:
        download(server.remote(), tmp_path)
    assert (tmp_path / "set.tgz.part").stat().st_size == 400_000 and "again" in caught.value.hint
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"x", CONTENT + b"more"])
def test_something_else_is_refused_and_removed(serve, tmp_path, sent):
    server = serve(content=sent)
    with pytest.raises(DataError, match="not the published file"):
        download(server.remote(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_part_is_not_kept(serve, tmp_path):
    server = serve()
    (tmp_path / "set.tgz.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="not the published file"):
        download(server.remote(), tmp_path)
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 4)])
def test_refusals(serve, tmp_path, status, requests):
    server = serve(status=status)
    with pytest.raises(EnvironmentProblem, match=r"cannot be downloaded") as caught:
        download(server.remote(), tmp_path)
    assert len(server.requests) == requests and str(tmp_path / "set.tgz") in caught.value.hint


def test_offline(serve, tmp_path):
    server = serve()
    remote = server.remote()
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(EnvironmentProblem, match="cannot be downloaded"):
        download(remote, tmp_path)


def test_too_little_room(serve, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(EnvironmentProblem, match="free"):
        download(server.remote(), tmp_path)
    assert server.requests == []


# -- archives ---------------------------------------------------------------------------------------------------------------


def tar_of(path, *members: tuple[str, dict, bytes]):
    with tarfile.open(path, "w:gz") as tar:
        for name, facts, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in facts.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path, *members: tuple[str, int, bytes]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def test_tar_and_zip(tmp_path):
    archives = [
        tar_of(tmp_path / "a.tgz", ("set", {"type": tarfile.DIRTYPE, "mode": 0o700}, b""), ("set/x/y.txt", {"mode": 0o4777}, b"hello")),
        zip_of(tmp_path / "a.zip", ("set/", 0, b""), ("set/x/y.txt", stat.S_IFREG | 0o777, b"hello")),
    ]
    for archive in archives:
        folder = tmp_path / f"of_{archive.suffix[1:]}"
        for _ in range(2):  # the second time changes nothing
            extract(archive, folder)
            assert (folder / "set" / "x" / "y.txt").read_bytes() == b"hello"
            assert [entry.name for entry in folder.iterdir()] == ["set"]
        assert not (folder / "set" / "x" / "y.txt").stat().st_mode & stat.S_ISUID


LINK, HARD, FIFO, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", {}, b"x"),
        ("set/../../evil", {}, b"x"),
        ("/tmp/evil", {}, b"x"),
        ("..\\evil", {}, b"x"),
        ("C:\\evil", {}, b"x"),
        ("set/link", {"type": LINK, "linkname": "../../evil"}, b""),
        ("set/link", {"type": LINK, "linkname": "/etc"}, b""),
        ("set/link", {"type": HARD, "linkname": "../evil"}, b""),
        ("set/pipe", {"type": FIFO}, b""),
        ("set/device", {"type": DEVICE}, b""),
    ],
)
def test_a_tar_that_leads_outside_leaves_nothing(tmp_path, member):
    archive = tar_of(tmp_path / "evil.tgz", ("set/first.txt", {}, b"fine"), member)
    with pytest.raises(DataError, match=r"leads out|neither a file nor a folder") as caught:
        extract(archive, tmp_path / "in" / "folder")
    assert caught.value.where == str(archive)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tgz", "folder", "in"]


@pytest.mark.parametrize("member", [("../evil", 0, b"x"), ("/tmp/evil", 0, b"x"), ("set/link", stat.S_IFLNK | 0o777, b"../../evil")])
def test_a_zip_that_leads_outside_leaves_nothing(tmp_path, member):
    archive = zip_of(tmp_path / "evil.zip", ("set/first.txt", 0, b"fine"), member)
    with pytest.raises(DataError, match="leads out"):
        extract(archive, tmp_path / "in" / "folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip", "folder", "in"]


def test_a_link_is_never_made_nor_written_through(tmp_path):
    link = {"type": LINK, "linkname": "other"}
    archive = tar_of(tmp_path / "a.tgz", ("set/link", link, b""), ("set/link/x.txt", {}, b"x"))
    extract(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "set" / "link").is_symlink()
    archive = zip_of(tmp_path / "a.zip", ("set/link", stat.S_IFLNK | 0o777, b"other"), ("set/x.txt", 0, b"x"))
    extract(archive, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other" / "set").iterdir()] == ["x.txt"]


@pytest.mark.parametrize("suffix", ["tgz", "zip"])
def test_a_damaged_archive(tmp_path, suffix):
    content = os.urandom(20000)
    path = tmp_path / f"a.{suffix}"
    whole = tar_of(path, ("set/x", {}, content)) if suffix == "tgz" else zip_of(path, ("set/x", 0, content))
    data = whole.read_bytes()
    flipped = data[:5000] + bytes([data[5000] ^ 255]) + data[5001:]
    for damaged in (data[:9000], b"", b"hello", flipped):
        whole.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            extract(whole, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())


def test_cub_without_source(serve, tmp_path, monkeypatch):
    tree = make_cub(tmp_path / "tree", per_class=2)
    downloads = tmp_path / "work" / "downloads" / "cub"
    downloads.mkdir(parents=True)
    for name, folder in (("CUB_200_2011.tgz", "CUB_200_2011"), ("cvpr2016_cub.tar.gz", "cvpr2016_cub")):
        with tarfile.open(tmp_path / name, "w:gz") as tar:
            tar.add(tree / folder, folder)
    (tmp_path / "cvpr2016_cub.tar.gz").rename(downloads / "cvpr2016_cub.tar.gz")
    content = (tmp_path / "CUB_200_2011.tgz").read_bytes()
    server = serve(content=content)
    remote = server.remote("md5", content)
    monkeypatch.setattr(cub, "IMAGES", Remote(remote.url, "CUB_200_2011.tgz", remote.size, remote.digest))
    monkeypatch.delenv("STACKGAN_DATA", raising=False)
    for _ in range(2):
        gathered = gather("cub", SourceOptions(workspace=tmp_path / "work"))
        assert len(gathered.records) == 8 and all(record.captions for record in gathered.records)
    assert server.requests == [None]


def walk(folder) -> dict[str, str]:
    """Every entry below a folder, with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in folder.rglob("*")
    }


@pytest.fixture
def owned(tmp_path):
    """A folder with files of the user."""
    folder = tmp_path / "data"
    for name in ("set/mine.txt", "set/x.txt", "set/deep/photo.jpg", "other/photo.jpg", ".a.zip.unpacking/mine.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"the user's {name}")
    return folder


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_unpacking_merges(tmp_path, owned, kind):
    names = ("set/x.txt", "set/deep/new.txt", "new/y.txt")
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(archive, *((name, 0, b"ours") for name in names))
    else:
        tar_of(archive, *((name, {}, b"ours") for name in names))
    before = walk(owned)
    extract(archive, owned)
    after = walk(owned)
    assert before.items() <= after.items() and after.keys() - before.keys() == {"set/deep/new.txt", "new", "new/y.txt"}
    assert (owned / "new" / "y.txt").read_bytes() == b"ours"


def test_unpacking_behind_a_link_of_the_user(tmp_path, owned):
    (owned / "link").symlink_to("set")
    before = walk(owned)
    extract(zip_of(tmp_path / "a.zip", ("link/x.txt", 0, b"ours"), ("link/z.txt", 0, b"ours")), owned)
    assert (owned / "link").is_symlink() and before.items() <= walk(owned).items() and (owned / "set" / "z.txt").read_bytes() == b"ours"


@pytest.mark.parametrize("names", [("set/mine.txt/inside", "a/b"), ("set/deep", "a/b"), ("other", "a/b")])
def test_a_file_in_the_place_of_a_folder(tmp_path, owned, names):
    before = walk(owned)
    with pytest.raises(DataError, match=r"is a (file|folder), but a\.zip has") as caught:
        extract(zip_of(tmp_path / "a.zip", *((name, 0, b"ours") for name in names)), owned)
    assert walk(owned) == before and caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("at", range(1, 5))
def test_an_interrupted_unpacking_leaves_everything_as_it_was(tmp_path, owned, monkeypatch, error, at):
    archive = zip_of(tmp_path / "a.zip", *((name, 0, b"ours") for name in ("a/1", "set/deep/2", "set/3", "z/4")))
    before, rename, calls = walk(owned), module.Path.rename, []

    def failing(self, target):
        calls.append(target)
        if len(calls) == at:
            raise error
        return rename(self, target)

    monkeypatch.setattr(module.Path, "rename", failing)
    with pytest.raises((KeyboardInterrupt, EnvironmentProblem)):
        extract(archive, owned)
    assert walk(owned) == before and len(calls) >= at


@pytest.mark.parametrize("kind", ["twice", "trailing", "leading", "many", "large"])
def test_an_ambiguous_or_huge_zip(tmp_path, owned, monkeypatch, kind):
    archive = tmp_path / "a.zip"
    with pytest.warns(UserWarning) if kind == "twice" else contextlib.nullcontext():
        zip_of(archive, ("a.txt", 0, b"1" * 100), ("a.txt" if kind == "twice" else "b.txt", 0, b"2" * 100))
    match kind:
        case "trailing":
            archive.write_bytes(archive.read_bytes() + b"more")
        case "leading":
            archive.write_bytes(b"more" + archive.read_bytes())
        case "many":
            monkeypatch.setattr(module.check_zip, "__kwdefaults__", {"largest": 1000, "most": 1})
        case "large":
            monkeypatch.setattr(module.check_zip, "__kwdefaults__", {"largest": 100, "most": 9})
    before = walk(owned)
    with pytest.raises(DataError, match="rejected"):
        extract(archive, owned)
    assert walk(owned) == before


def test_a_tar_that_unpacks_to_too_much(tmp_path, owned, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 100)
    before = walk(owned)
    with pytest.raises(DataError, match="rejected"):
        extract(tar_of(tmp_path / "a.tgz", ("x", {}, b"1" * 60), ("y", {}, b"1" * 60)), owned)
    assert walk(owned) == before


def test_a_file_of_the_user_is_not_overwritten_by_a_download(serve, tmp_path):
    server = serve()
    (tmp_path / "set.tgz").write_text("the user's own")
    with pytest.raises(DataError, match="left as it is"):
        download(server.remote(), tmp_path)
    assert (tmp_path / "set.tgz").read_text() == "the user's own" and server.requests == []


def test_archives_beside_an_unpacked_folder(tmp_path):
    """The photographs lie in the folder that the archive of the captions also has."""
    tree = make_cub(tmp_path / "tree", per_class=2)
    downloads = tmp_path / "work" / "downloads" / "cub"
    (downloads / "birds").mkdir(parents=True)
    (tree / "CUB_200_2011").rename(downloads / "birds" / "CUB_200_2011")
    with zipfile.ZipFile(downloads / "birds.zip", "w") as archive:
        for path in sorted((tree / "cvpr2016_cub" / "text_c10").rglob("*.txt")):
            archive.write(path, Path("birds", "text", path.relative_to(tree / "cvpr2016_cub" / "text_c10")))
    before = walk(downloads)
    gathered = gather("cub", SourceOptions(workspace=tmp_path / "work"))
    assert len(gathered.records) == 8 and before.items() <= walk(downloads).items()
