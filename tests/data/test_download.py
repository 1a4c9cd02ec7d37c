import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
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
        for _ in range(2):  # the second time replaces the existing files
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
    extract(archive, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "set").iterdir()] == ["x.txt"]


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
