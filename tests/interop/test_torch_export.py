"""Files of torch.export: the same numbers as the exported network, and no code from the file is executed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.interop.torch_export import ExportedNetwork
from stackgan_cli.interop.torchscript import CheckedNetwork


class Small(nn.Module):
    """Resizing, convolution, statistics kept in a buffer, a chunk (several outputs), arithmetic on sizes, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        self.register_buffer("shift", torch.arange(4.0), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(images.float(), size=(32, 32), mode="bilinear", antialias=True) / 127.5 - 1
        first, second = self.norm(self.conv(x)).relu_().chunk(2, 1)
        scale = (images.shape[2] * images.shape[3]) ** 0.5
        features = torch.cat([first.mean((2, 3)) + self.shift, second.amax((2, 3)) * scale / 100], 1)
        return features, self.head(features).softmax(1) * torch.ones(5, device=images.device)


def export(network: nn.Module, path: Path) -> Path:
    if not hasattr(torch.export, "Dim") or not hasattr(torch.export.Dim, "AUTO"):
        pytest.skip("this PyTorch exports no dynamic shapes")
    auto = torch.export.Dim.AUTO
    example = torch.zeros(2, 3, 48, 40, dtype=torch.uint8)
    with torch.no_grad():
        torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},)), path)
    if f"{path.stem}/archive_format" not in zipfile.ZipFile(path).namelist():
        pytest.skip("this PyTorch writes an older kind of file")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = Small()
    network.norm.running_mean.normal_()
    return network, export(network, tmp_path_factory.mktemp("exported") / "small.pt2")


def images(count: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 48, 40), (5, 64, 64), (1, 33, 77)])
def test_the_same_numbers(exported: tuple[nn.Module, Path], shape: tuple[int, int, int]) -> None:
    network, path = exported
    x = images(*shape)
    for ours, theirs in zip(ExportedNetwork(path)(x), network(x), strict=True):
        assert torch.equal(ours, theirs)


NETWORKS = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "resnext50_32x4d",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
    "swin_t",
    "swin_v2_t",
    "alexnet",
    "vgg11_bn",
    "squeezenet1_1",
    "densenet121",
    "shufflenet_v2_x1_0",
    "mnasnet0_5",
    "regnet_y_400mf",
)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"), [(name, 96) for name in NETWORKS] + [("vit_b_32", 224), ("maxvit_t", 224), ("inception_v3", 299)]
)
def test_networks_of_torchvision(tmp_path: Path, name: str, side: int) -> None:
    models = pytest.importorskip("torchvision.models")

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = getattr(models, name)(weights=None)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.network(F.interpolate(x.float(), size=(side, side)) / 255)
            return y, y.softmax(1)

    network = Wrapped()
    path = export(network, tmp_path / "network.pt2")
    x = images(3, 70, 80)
    for ours, theirs in zip(ExportedNetwork(path)(x), network(x), strict=True):
        assert torch.equal(ours, theirs)


def changed(path: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The archive with its records changed."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, change(name.partition("/")[2], archive.read(name)))
    return target


def in_model(path: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    def edit(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        model = json.loads(data)
        change(model)
        return json.dumps(model).encode()

    return changed(path, target, edit)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


@torch.no_grad()
def test_example_inputs_are_not_unpickled(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    network, path = exported
    witness = tmp_path / "witness"
    buffer = io.BytesIO()
    torch.save(Trap(witness), buffer)
    evil = changed(path, tmp_path / "evil.pt2", lambda name, data: buffer.getvalue() if name.startswith("data/sample_inputs") else data)
    assert torch.equal(ExportedNetwork(evil)(images(2, 48, 40))[0], network(images(2, 48, 40))[0])
    assert not witness.exists()
    pickle.loads(pickle.dumps(Trap(witness)))
    assert witness.exists()  # the trap works


@torch.no_grad()
def test_texts_are_not_evaluated(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    code = f"__import__('pathlib').Path({str(witness)!r}).touch()"

    def poison(model: dict[str, Any]) -> None:
        model["guards_code"] = [code]
        model["range_constraints"] = {code: {"min_val": 0, "max_val": 9}}
        model["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [code]
        graph = model["graph_module"]["graph"]
        assert graph["sym_int_values"]
        for value in graph["sym_int_values"].values():
            value["as_expr"]["expr_str"] = code

    ExportedNetwork(in_model(exported[1], tmp_path / "evil.pt2", poison))(images(2, 48, 40))
    assert not witness.exists()


@pytest.mark.parametrize(
    "target",
    [
        *("torch.save", "torch.load", "torch.ops.aten.from_file.default", "torch.hub.load", "torch.ops.load_library", "builtins.exec"),
        *(
            "_operator.attrgetter",
            "_operator.methodcaller",
            "#my.operator",
            "torch.ops.aten.__class__.default",
            "torch.ops.aten.relu.__init__",
        ),
        *("torch.ops.higher_order.cond", "torch.ops.other.thing.default", "torch.ops.aten.no_such_thing.default"),
    ],
)
def test_other_functions_are_refused(exported: tuple[nn.Module, Path], tmp_path: Path, target: str) -> None:
    def poison(model: dict[str, Any]) -> None:
        model["graph_module"]["graph"]["nodes"][3]["target"] = target

    with pytest.raises(MismatchError, match="this exported network is") as caught:
        ExportedNetwork(in_model(exported[1], tmp_path / "evil.pt2", poison))
    assert "torch.export.save" in caught.value.hint


def test_pickled_weights_are_refused(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    def poison(name: str, data: bytes) -> bytes:
        return data.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("weights_config.json") else data

    with pytest.raises(MismatchError, match="pickled"):
        ExportedNetwork(changed(exported[1], tmp_path / "evil.pt2", poison))


@pytest.mark.parametrize("kind", ["text", "empty", "folder-less zip", "cut", "other version", "no graph", "two inputs"])
def test_other_files(exported: tuple[nn.Module, Path], tmp_path: Path, kind: str) -> None:
    path, data = tmp_path / "x.pt2", exported[1].read_bytes()
    match kind:
        case "text":
            path.write_text("hello")
        case "empty":
            path.write_bytes(b"")
        case "folder-less zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", "hello")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "other version":
            in_model(exported[1], path, lambda model: model["schema_version"].update(major=99))
        case "no graph":
            in_model(exported[1], path, lambda model: model.pop("graph_module"))
        case "two inputs":
            specs = json.loads(zipfile.ZipFile(exported[1]).read("small/models/model.json"))["graph_module"]["signature"]["input_specs"]
            in_model(exported[1], path, lambda model: model["graph_module"]["signature"].update(input_specs=[*specs, specs[-1]]))
    with pytest.raises(MismatchError, match="export") as caught:
        ExportedNetwork(path)
    assert caught.value.where == str(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        ExportedNetwork(tmp_path / "absent.pt2")


HUGE = 2**40
IMAGES = {"as_tensor": {"name": "images"}}


def node(target: str, *inputs: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A call whose result replaces nothing."""
    entries = [{"name": name, "arg": arg, "kind": 1} for name, arg in inputs]
    return {"target": target, "inputs": entries, "outputs": [{"as_tensor": {"name": "extra"}}], "metadata": {}}


HOSTILE = {
    "zeros": node("torch.ops.aten.zeros.default", ("size", {"as_ints": [HUGE, HUGE]})),
    "ones": node("torch.ops.aten.ones.default", ("size", {"as_ints": [HUGE]})),
    "empty": node("torch.ops.aten.empty.memory_format", ("size", {"as_ints": [HUGE]})),
    "full": node("torch.ops.aten.full.default", ("size", {"as_ints": [HUGE]}), ("fill_value", {"as_int": 1})),
    "arange": node("torch.ops.aten.arange.default", ("end", {"as_int": HUGE})),
    "eye": node("torch.ops.aten.eye.default", ("n", {"as_int": 2**30})),
    "negative size": node("torch.ops.aten.zeros.default", ("size", {"as_ints": [-5]})),
    "repeat": node("torch.ops.aten.repeat.default", ("self", IMAGES), ("repeats", {"as_ints": [HUGE, 1, 1, 1]})),
    "expand": node("torch.ops.aten.expand.default", ("self", IMAGES), ("size", {"as_ints": [HUGE, 2, 3, 48, 40]})),
    "pad": node("torch.ops.aten.pad.default", ("self", IMAGES), ("pad", {"as_ints": [HUGE, HUGE]})),
    "crop": node("torch.ops.aten.pad.default", ("self", IMAGES), ("pad", {"as_ints": [-99, -99]})),
    "pool": node("torch.ops.aten.avg_pool2d.default", ("self", IMAGES), ("kernel_size", {"as_ints": [1 << 20, 1]})),
    "pool to": node("torch.ops.aten.adaptive_avg_pool2d.default", ("self", IMAGES), ("output_size", {"as_ints": [2**20, 2**20]})),
    "select": node("torch.ops.aten.select.int", ("self", IMAGES), ("dim", {"as_int": 0}), ("index", {"as_int": 999})),
    "select dim": node("torch.ops.aten.select.int", ("self", IMAGES), ("dim", {"as_int": 99}), ("index", {"as_int": 0})),
    "view": node("torch.ops.aten.view.default", ("self", IMAGES), ("size", {"as_ints": [7, 7]})),
    "einsum": node(
        "torch.ops.aten.einsum.default",
        ("equation", {"as_string": "a...,b...,c...->"}),
        ("tensors", {"as_tensors": [{"name": "images"}] * 3}),
    ),
    "text": node("_operator.mul", ("", {"as_string": "x"}), ("1", {"as_int": HUGE})),
    "power": node("_operator.pow", ("", {"as_int": 9}), ("1", {"as_int": 10**9})),
    "shift": node("_operator.lshift", ("", {"as_int": 9}), ("1", {"as_int": 10**9})),
    **{
        name: node(f"torch.ops.aten.{name}", ("self", IMAGES))
        for name in (
            *("as_strided.default", "set_.source_Storage", "resize_.default", "from_file.default", "_local_scalar_dense.default"),
            *("nonzero.default", "item.default", "record_stream.default", "data_ptr.default", "empty_strided.default", "unfold.default"),
            *("_embedding_bag.default", "zeros.out", "add.out", "put_.default", "_unsafe_index.Tensor", "index_put_.default"),
            *("_cudnn_init_dropout_state.default", "quantize_per_tensor.default", "view_as_real.default", "lstm.input", "rand.default"),
        )
    },
}


@torch.no_grad()
@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_calls_are_refused(exported: tuple[nn.Module, Path], tmp_path: Path, name: str) -> None:
    def poison(model: dict[str, Any]) -> None:
        model["graph_module"]["graph"]["nodes"].insert(0, HOSTILE[name])

    path = in_model(exported[1], tmp_path / "evil.pt2", poison)
    with pytest.raises(MismatchError) as caught:
        CheckedNetwork(ExportedNetwork(path), path)(images(2, 48, 40))
    assert "alloc" not in caught.value.message  # refused before memory was asked for


@pytest.mark.parametrize("kind", ["sizes", "strides", "offset", "dtype", "trailing", "twice", "negative"])
@pytest.mark.filterwarnings("ignore")
def test_hostile_tensors_and_archives(exported: tuple[nn.Module, Path], tmp_path: Path, kind: str) -> None:
    def poison(name: str, data: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return data
        config = json.loads(data)
        meta = next(entry["tensor_meta"] for entry in config["config"].values() if entry["tensor_meta"]["sizes"])
        match kind:
            case "sizes" | "negative":
                meta["sizes"][0]["as_int"] = HUGE if kind == "sizes" else -4
            case "strides":
                meta["sizes"][0]["as_int"], meta["strides"][0]["as_int"] = HUGE, 0
            case "offset":
                meta["storage_offset"]["as_int"] = HUGE
            case "dtype":
                meta["dtype"] = 99
        return json.dumps(config).encode()

    path = changed(exported[1], tmp_path / "evil.pt2", poison)
    if kind == "trailing":
        path.write_bytes(path.read_bytes() + b"more")
    if kind == "twice":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(archive.namelist()[0], b"other")
    with pytest.raises(MismatchError):
        ExportedNetwork(path)
