"""Extractors: the published networks from pixels to features, networks supplied by the user, and errors about wrong files."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.schema import RunConfig, TrainConfig
from stackgan_cli.data.download import Remote
from stackgan_cli.encoders import extractor_weights
from stackgan_cli.encoders.extractor import KINDS, Extractor, open_extractor
from stackgan_cli.encoders.extractor_weights import PUBLISHED, Published, find_weights
from stackgan_cli.encoders.resize import resize
from stackgan_cli.errors import EnvironmentProblem, Exit, MismatchError, UsageError, UserError
from stackgan_cli.models.classifier import build_classifier
from stackgan_cli.models.inception import InceptionV3
from stackgan_cli.runs import write_weights

State = dict[str, Tensor]


def pixels(count: int = 2, height: int = 40, width: int | None = None) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width or height), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def inception_state(classes: int) -> State:
    """Random weights with which activations do not vanish."""
    torch.manual_seed(0)
    network = InceptionV3(classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    nn.init.normal_(network.fc.bias)
    return network.state_dict()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Paths of state dicts by number of classes; they differ only in the last layer."""
    folder, base = tmp_path_factory.mktemp("inception"), inception_state(1008)

    def path(classes: int) -> Path:
        target = folder / f"inception_{classes}.pth"
        if not target.exists():
            torch.save({**base, "fc.weight": base["fc.weight"][:classes], "fc.bias": base["fc.bias"][:classes]}, target)
        return target

    return path


# -- Inception --------------------------------------------------------------------------------------------------------------


def test_tensorflows_inception_is_torch_fidelitys_from_pixels_on(states: Callable[[int], Path]) -> None:
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path, images = states(1008), pixels(2, 50, 43)
    names = ["2048", "logits_unbiased", "logits"]
    features, unbiased, biased = fidelity.FeatureExtractorInceptionV3("random", names, feature_extractor_weights_path=str(path))(images)
    ours = open_extractor(f"tf-inception-2015:{path}")
    found = ours(images)
    assert relative(found.features, features) < 1e-4 and features.std() > 0.1
    assert found.log_probabilities is not None
    assert torch.allclose(found.log_probabilities, unbiased.log_softmax(1), atol=1e-3)
    found = open_extractor(f"tf-inception-2015:{path}", logits="biased")(images)
    assert found.log_probabilities is not None
    assert torch.allclose(found.log_probabilities, biased.log_softmax(1), atol=1e-3)
    assert (unbiased.log_softmax(1) - biased.log_softmax(1)).abs().max() > 0.1
    assert ours.identity == {
        "extractor": "tf-inception-2015",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "resize": "tf1-bilinear",
        "side": 299,
        "logits": "unbiased",
    }
    assert (ours.feature_dim, ours.num_classes, ours.label) == (2048, 1008, "tf-inception-2015")


@torch.no_grad()
@pytest.mark.parametrize("mode", [None, "t2i-legacy"])
def test_torchvisions_inception(states: Callable[[int], Path], mode: str | None) -> None:
    torchvision = pytest.importorskip("torchvision.models.inception")
    theirs = torchvision.Inception3(transform_input=mode is not None, init_weights=False).eval()
    theirs.load_state_dict(torch.load(states(1000), weights_only=True), strict=False)
    images = pixels()
    x = resize(images, 299, "pil-bilinear")
    logits = theirs(x / 255 if mode else x / 127.5 - 1)
    extractor = open_extractor(f"torchvision-inception:{states(1000)}", resize=mode)
    found = extractor(images)
    assert found.log_probabilities is not None and found.features.shape == (2, 2048)
    assert torch.allclose(found.log_probabilities, logits.log_softmax(1), atol=1e-3) and logits.std() > 0.1
    assert extractor.identity["resize"] == (mode or "pil-bilinear")


def test_the_auxiliary_head_and_old_files_without_counters(states: Callable[[int], Path], tmp_path: Path) -> None:
    state = torch.load(states(1000), weights_only=True)
    published = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({**published, "AuxLogits.fc.weight": torch.zeros(1000, 768)}, tmp_path / "old.pth")
    images = pixels(1, 80)
    old, new = (
        open_extractor(f"torchvision-inception:{path}", resize="none")(images).features for path in (tmp_path / "old.pth", states(1000))
    )
    assert torch.equal(old, new)


@pytest.mark.parametrize(
    ("rows", "names", "classes"), [(51, None, 50), (21, None, 20), (50, None, 50), (31, 30, 30), (51, 51, 51), (31, None, 31)]
)
def test_background_of_fine_tuned_networks(
    states: Callable[[int], Path], tmp_path: Path, rows: int, names: int | None, classes: int
) -> None:
    path = tmp_path / "finetuned.pth"
    path.symlink_to(states(rows))
    if names is not None:
        path.with_suffix(".txt").write_text("".join(f"Class {i}\n" for i in range(names)))
    extractor, images = open_extractor(f"finetuned:{path}", resize="none"), pixels(1, 80)
    assert extractor.num_classes == classes
    assert extractor.classes == (None if names is None else tuple(f"Class {i}" for i in range(names)))
    all_of_them = open_extractor(f"finetuned:{states(1000)}", resize="none")(images).log_probabilities
    found = extractor(images).log_probabilities
    assert found is not None and all_of_them is not None
    kept = all_of_them[:, rows - classes : rows]
    assert torch.allclose(found, kept.log_softmax(1), atol=1e-4)
    assert torch.allclose(found.exp().sum(1), torch.ones(1), atol=1e-4)


def test_a_list_of_other_classes(states: Callable[[int], Path], tmp_path: Path) -> None:
    path = tmp_path / "finetuned.pth"
    path.symlink_to(states(51))
    path.with_suffix(".txt").write_text("one\ntwo\n")
    with pytest.raises(MismatchError, match="51 classes, but the list beside it has 2"):
        open_extractor(f"finetuned:{path}")


def test_resizing_is_a_choice(states: Callable[[int], Path]) -> None:
    images = pixels(1, 90)
    found = [open_extractor(f"finetuned:{states(50)}", resize=mode)(images).features for mode in ("pil-bilinear", "pil-bicubic", "none")]
    assert all(relative(a, b) > 1e-4 for i, a in enumerate(found) for b in found[:i])
    with pytest.raises(UsageError, match="at least 75 px"):
        open_extractor(f"finetuned:{states(50)}", resize="none")(pixels(1, 64))


def test_fixed_and_float32(states: Callable[[int], Path]) -> None:
    extractor = open_extractor(f"finetuned:{states(50)}", resize="none").train()
    assert not any(module.training for module in extractor.modules())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    images = pixels(3, 80)
    with torch.autocast("cpu", torch.bfloat16):
        inside = extractor(images)
    outside = extractor(images)
    assert inside.features.dtype == torch.float32 and torch.equal(inside.features, outside.features)
    alone = extractor(images[1:2])
    assert relative(alone.features, outside.features[1:2]) < 1e-5


# -- finding weights --------------------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Serves `CONTENT` on 127.0.0.1 as the published file, with eight known digits; yields the requests received."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()[:8]}"
    remote = Remote(f"http://127.0.0.1:{server.server_port}/w.pth", "w.pth", len(CONTENT), digest)
    monkeypatch.setitem(PUBLISHED, "tf-inception-2015", Published(remote, ("other-name.pth",)))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("STACKGAN_OFFLINE", raising=False)
    yield requests
    server.shutdown()
    server.server_close()


def test_weights_are_downloaded_once(served: list[str], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        path = find_weights("tf-inception-2015", tmp_path / "weights", progress=lambda done, total: seen.append((done, total)))
        assert path == tmp_path / "weights" / "w.pth" and path.read_bytes() == CONTENT
    assert served == ["/w.pth"] and seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("place", ["weights/other-name.pth", "hub/checkpoints/w.pth"])
def test_weights_that_are_there_are_used(served: list[str], tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(CONTENT)
    assert find_weights("tf-inception-2015", tmp_path / "weights") == tmp_path / place and not served


@pytest.mark.parametrize("switch", ["option", "environment"])
def test_offline(served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    if switch == "environment":
        monkeypatch.setenv("STACKGAN_OFFLINE", "1")
    folder = tmp_path / "weights"
    with pytest.raises(EnvironmentProblem) as caught:
        open_extractor("tf-inception-2015", weights_folder=folder, offline=True if switch == "option" else None)
    assert caught.value.code == Exit.ENVIRONMENT and not served
    remote = PUBLISHED["tf-inception-2015"].remote
    for part in (remote.file_name, f"{remote.size:,} bytes", remote.digest, remote.url, str(folder)):
        assert part in caught.value.hint


def test_no_network(served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = PUBLISHED["tf-inception-2015"].remote
    monkeypatch.setitem(PUBLISHED, "tf-inception-2015", Published(Remote("http://127.0.0.1:9/w.pth", "w.pth", 9, remote.digest)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(EnvironmentProblem, match=r"missing.*cannot be downloaded") as caught:
        find_weights("tf-inception-2015", tmp_path / "weights")
    assert "put w.pth" in caught.value.hint


def test_another_file_of_that_name(served: list[str], tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(CONTENT[::-1])
    with pytest.raises(MismatchError, match="not the published file"):
        find_weights("tf-inception-2015", tmp_path)
    assert not served


def test_what_is_published() -> None:
    assert set(PUBLISHED) == set(KINDS[:2])
    for published in PUBLISHED.values():
        stem, digest = published.remote.file_name.removesuffix(".pth"), published.remote.digest.removeprefix("sha256:")
        assert stem.endswith(digest[:8]) and published.remote.url.endswith(published.remote.file_name)
    assert extractor_weights.offline_wanted() in (True, False)


# -- our classifiers --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_classifier_of_ours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ClassifierConfig(resolution=32, width=8, num_classes=3)
    network = build_classifier(config).eval()
    run = RunConfig(name="tiny", model=config, train=TrainConfig(steps=1))
    path = tmp_path / "runs" / "birds" / "weights" / "latest.safetensors"
    tensors = {f"classifier.{key}": value for key, value in network.state_dict().items()}
    write_weights(path, tensors, config=run, step=7, text_encoder=None, classes=("a", "b", "c"))
    images = pixels(4, 48)
    for spec in (path, tmp_path / "runs" / "birds"):
        extractor = open_extractor(f"classifier:{spec}")
        found = extractor(images)
        assert torch.allclose(found.features, network.features(images / 127.5 - 1), atol=1e-5)
        assert found.log_probabilities is not None
        assert torch.allclose(found.log_probabilities, network(images / 127.5 - 1).log_softmax(1), atol=1e-5)
        assert extractor.classes == ("a", "b", "c") and extractor.has_logits and extractor.name == "classifier"


# -- other networks ---------------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A network that fulfills the contract, or breaks it as `kind` says."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.head, self.kind = nn.Linear(3, 4), kind

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = images.float().mean((2, 3))
        probabilities = self.head(features / 50).softmax(1)
        if self.kind == "logits":
            probabilities = self.head(features)
        if self.kind == "map":
            features = images.float()
        if self.kind == "one row":
            features = features[:1]
        if self.kind == "integers":
            features = features.long()
        if self.kind == "certain":
            probabilities = F.one_hot(probabilities.argmax(1), 4).float()
        if self.kind == "nan":
            probabilities = probabilities / 0
        return features, probabilities


class One(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


class Three(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = images.float().mean((2, 3))
        return x, x, x


class Floats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((2, 3))


class Named(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": images.float().mean((2, 3))}


class Saves(nn.Module):
    def __init__(self, witness: str) -> None:
        super().__init__()
        self.witness = witness

    def forward(self, images: Tensor) -> Tensor:
        torch.save([images], self.witness)
        return images.float().mean((2, 3))


def script(network: nn.Module, path: Path) -> Path:
    torch.manual_seed(0)
    example = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    try:
        module = torch.jit.trace(network.eval(), example, strict=False)
    except RuntimeError:
        module = torch.jit.script(network.eval())
    module.save(str(path))
    return path


@pytest.mark.filterwarnings("ignore")
def test_torchscript(tmp_path: Path) -> None:
    path = script(Tiny(), tmp_path / "tiny.pt")
    path.with_suffix(".txt").write_text("a\nb\nc\nd\n")
    extractor, images = open_extractor(f"torchscript:{path}", trust=True), pixels(5, 30, 20)
    found = extractor(images)
    assert torch.allclose(found.features, images.float().mean((2, 3)))
    assert found.log_probabilities is not None and torch.allclose(found.log_probabilities.exp().sum(1), torch.ones(5), atol=1e-5)
    assert extractor.classes == ("a", "b", "c", "d") and extractor.label == "torchscript tiny.pt"
    features_only = open_extractor(f"torchscript:{script(One(), tmp_path / 'one.pt')}", trust=True)
    assert features_only(images).log_probabilities is None and not features_only.has_logits


@pytest.mark.filterwarnings("ignore")
def test_certainty_has_finite_logarithms(tmp_path: Path) -> None:
    found = open_extractor(f"torchscript:{script(Tiny('certain'), tmp_path / 'tiny.pt')}", trust=True)(pixels())
    assert found.log_probabilities is not None and found.log_probabilities.isfinite().all()
    assert torch.allclose(found.log_probabilities.exp().amax(1), torch.ones(2)) and found.log_probabilities.amin() < -80


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Tiny("logits"), "not probabilities"),
        (Tiny("nan"), "not probabilities"),
        (Tiny("map"), r"returns float32 \(2, 3, 64, 64\)"),
        (Tiny("one row"), r"float32 \(1, 3\).*for 2 images"),
        (Tiny("integers"), "int64"),
        (Three(), "returns tuple"),
        (Named(), "returns dict"),
        (Floats(), "fails on uint8 images"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_torchscript_of_another_kind(tmp_path: Path, network: nn.Module, says: str) -> None:
    path = script(network, tmp_path / "other.pt")
    with pytest.raises(MismatchError, match=says) as caught:
        open_extractor(f"torchscript:{path}", trust=True)
    assert caught.value.code == Exit.MISMATCH and "uint8" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_torchscript_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a program") as caught:
        open_extractor(f"torchscript:{script(One(), tmp_path / 'one.pt')}")
    assert "export:" in caught.value.hint and "--trust" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_writes_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "saves.pt"
    torch.jit.script(Saves(str(tmp_path / "witness"))).save(str(path))
    with pytest.raises(MismatchError, match="'save'"):
        open_extractor(f"torchscript:{path}", trust=True)
    assert not (tmp_path / "witness").exists()


def test_export(tmp_path: Path) -> None:
    auto = torch.export.Dim.AUTO
    with torch.no_grad():
        program = torch.export.export(Tiny().eval(), (pixels(),), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    torch.export.save(program, tmp_path / "tiny.pt2")
    extractor, images = open_extractor(f"export:{tmp_path / 'tiny.pt2'}"), pixels(5, 30, 20)
    assert torch.allclose(extractor(images).features, images.float().mean((2, 3)))
    assert (extractor.feature_dim, extractor.num_classes, extractor.side) == (3, 4, None)


# -- wrong specs and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", ["text", "empty", "safetensors", "checkpoint", "pickle of code"])
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_something_else(tmp_path: Path, kind: str, content: str) -> None:
    path = tmp_path / "file.pth"
    match content:
        case "text":
            path.write_text("hello, I am not a network\n" * 100)
        case "empty":
            path.touch()
        case "safetensors":
            path = tmp_path / "file.safetensors"
            save_file({"weight": torch.zeros(2)}, path)
        case "checkpoint":
            torch.save({"weight": torch.zeros(2)}, path)
        case "pickle of code":
            torch.save(nn.Linear(2, 2), path)
    with pytest.raises(UserError) as caught:
        open_extractor(f"{kind}:{path}", trust=True)
    assert caught.value.code == Exit.MISMATCH and caught.value.where == str(path)


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("tf-inception", {}, "did you mean"),
        ("torchscript", {}, "needs a file"),
        ("torchscript:/nowhere/net.pt", {}, "no such file"),
        ("export:/tmp", {}, "is a folder"),
        ("tf-inception-2015", {"resize": "bilinear"}, "unknown resizing method"),
        ("tf-inception-2015", {"resize": "t2i-legacy"}, "applies to torchvision-inception only"),
        ("torchscript:net.pt", {"resize": "pil-bicubic"}, "no size to resize to"),
        ("export:net.pt2", {"logits": "unbiased"}, "without bias"),
    ],
)
def test_wrong_specs(spec: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_extractor(spec, **options)  # type: ignore[arg-type]


def test_the_wrong_inception(states: Callable[[int], Path]) -> None:
    with pytest.raises(MismatchError, match="1000 classes, but tf-inception-2015 has 1008"):
        open_extractor(f"tf-inception-2015:{states(1000)}")


# -- a real network ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def birds(shared: Path) -> Extractor:
    return open_extractor(f"torchscript:{shared / 'weights' / 'bird_mobilenetv2_ts.pt'}", trust=True)


def test_the_bird_classifier(birds: Extractor) -> None:
    assert (birds.feature_dim, birds.num_classes, birds.classes) == (1280, 965, None)
    assert len(birds.sha256) == 64 and birds.identity["resize"] == "none"
    images = pixels(6, 100, 128)
    found = birds(images)
    assert found.features.shape == (6, 1280) and found.log_probabilities is not None
    assert torch.allclose(found.log_probabilities.exp().sum(1), torch.ones(6), atol=1e-3)
    assert torch.equal(birds(images).features, found.features)
    parts = torch.cat([birds(images[:1]).features, birds(images[1:]).features])
    assert relative(parts, found.features) < 1e-5
