"""Published checkpoints: recognized, imported, exported and imported again; and two dozen files that are not checkpoints."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stackgan_cli import registry
from stackgan_cli.__main__ import main
from stackgan_cli.config.archs import HDGAN, StackGANv1, StackGANv2
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.interop.published import assign, kind_of, model_of, read_checkpoint, step_of_name
from stackgan_cli.runs import Weights
from stackgan_cli.sampling import Sampler, render
from stackgan_cli.workspace import Workspace

SMALL = {"text_dim": 64, "condition_dim": 16, "z_dim": 10}
LAYOUTS: dict[str, Any] = {
    "v1-stage1": StackGANv1(variant="pytorch", stage=1, gf_dim=8, df_dim=4, **SMALL),
    "v1-stage2": StackGANv1(variant="pytorch", stage=2, resolution=256, gf_dim=8, df_dim=4, residual_blocks=2, **SMALL),
    "v2": StackGANv2(gf_dim=4, df_dim=4, **SMALL),
    "v2-one-branch": StackGANv2(branches=(64,), gf_dim=4, df_dim=4, **SMALL),
    "v2-all256": StackGANv2(branches=(256, 256), gf_dim=8, df_dim=4, residual_blocks=1, **SMALL),
    "v2-unconditional": StackGANv2(
        condition="none", wrong_pairs="none", wrong_as_real=False, color_weight=50, branches=(64, 128), gf_dim=4, df_dim=4, z_dim=10
    ),
    "hdgan": HDGAN(width=8, discriminator_width=8, patches=(1, 3, 5, 5), **SMALL),
    "hdgan-two-scales": HDGAN(scales=(64, 256), width=8, discriminator_width=16, residual_blocks=2, **SMALL),
    "hdgan-512": HDGAN(stage=2, width=8, discriminator_width=8, stage2_residual_blocks=3, **SMALL),
}
State = dict[str, Tensor]


def networks_of(model: Any) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return registry.find(model.arch).build(model)


def states_of(model: Any) -> tuple[State, list[State]]:
    """Generator and discriminators in the published format, with random weights."""
    generator, *others = (dict(network.state_dict()) for network in networks_of(model).values())
    if isinstance(model, HDGAN):
        others = [{key: value for state in others for key, value in state.items()}]
    return generator, others


def cli(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    code = main(["--json", *map(str, words)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else {}, err


@pytest.mark.parametrize("name", LAYOUTS)
def test_round_trip(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = LAYOUTS[name]
    generator, others = states_of(model)
    torch.save({f"module.{key}": value for key, value in generator.items()}, tmp_path / "netG_210000.pth")
    words: list[object] = []
    for i, state in enumerate(others):
        torch.save(state, tmp_path / f"netD{i}.pth")
        words += ["--discriminator", tmp_path / f"netD{i}.pth"]
    first = tmp_path / "first.safetensors"
    assert cli(capsys, "import", tmp_path / "netG_210000.pth", *words, "--output", first)[0] == 0
    weights = Weights.open(first)
    imported = weights.config.model
    assert imported.model_dump() == model.model_dump() and weights.step == 210000
    ours = weights.tensors("generator")
    assert ours.keys() == generator.keys() and all(torch.equal(ours[key], generator[key]) for key in generator)

    code, document, _ = cli(capsys, "export", "--weights", first, "--output", tmp_path / "out")
    assert code == 0
    files = [Path(file) for file in document["result"]["files"]]
    again = tmp_path / "again.safetensors"
    words = [word for file in files[1:] for word in ("--discriminator", file)]
    assert cli(capsys, "import", files[0], *words, "--output", again)[0] == 0
    before, after = (Weights.open(path) for path in (first, again))
    for network in registry.find(model.arch).build(model):
        one, other = before.tensors(network), after.tensors(network)
        assert one and one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("container", ["zip", "legacy", "inside a ZIP", "without num_batches_tracked"])
def test_containers(container: str, tmp_path: Path) -> None:
    generator, _ = states_of(LAYOUTS["v2-one-branch"])
    path = tmp_path / "netG_1.pth"
    if container.startswith("without"):
        generator = {key: value for key, value in generator.items() if not key.endswith("num_batches_tracked")}
    torch.save(generator, path, _use_new_zipfile_serialization=container not in ("legacy", "without num_batches_tracked"))
    if container == "inside a ZIP":
        with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
            archive.writestr("birds_3stages/", "")
            archive.write(path, "birds_3stages/netG_1.pth")
        path = tmp_path / "birds.zip"
    state = read_checkpoint(path)
    model = model_of(state)
    assert kind_of(state) == "v2-g" and model.model_dump() == StackGANv2(branches=(64,), gf_dim=4, **SMALL).model_dump()
    with torch.device("meta"):
        networks = registry.find(model.arch).build(model)
    tensors = assign(networks, state, [], path)
    assert {key.removeprefix("generator.") for key in tensors} == set(networks["generator"].state_dict())


def test_sampling_from_an_imported_generator(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Works directly with its text encoder; without it, `sample` says that it is missing. Images equal those of the network itself."""
    generator, _ = states_of(LAYOUTS["v2-one-branch"])
    torch.save(generator, tmp_path / "netG_1.pth")
    encoder = next(workspace.encoders.glob("*.safetensors"))
    root = ("--workspace", workspace.root)
    code, document, err = cli(capsys, *root, "import", tmp_path / "netG_1.pth")
    assert code == 0 and "--text-encoder" in err
    code, _, err = cli(capsys, *root, "sample", "a red bird", "--weights", document["result"]["path"])
    assert code == 5 and "--text-encoder" in err
    assert cli(capsys, *root, "sample", "a red bird", "--weights", document["result"]["path"], "--text-encoder", encoder)[0] == 0
    both = tmp_path / "both.safetensors"
    assert cli(capsys, *root, "import", tmp_path / "netG_1.pth", "--text-encoder", encoder, "--output", both)[0] == 0
    sampler = Sampler.load(both)
    network = networks_of(LAYOUTS["v2-one-branch"])["generator"]
    text = torch.from_numpy(TextEncoder.load(encoder).encode(["a red bird"]))
    expected = render(network, text, [3], device="cpu")  # type: ignore[arg-type]
    assert (sampler.sample(["a red bird"], [3])[64] == expected[64]).all()
    code, _, err = cli(capsys, *root, "sample", "a bird", "--weights", both, "--scale", "128")
    assert code == 2 and "--scale 64|all" in err


def test_published_key_lists_are_recognised_at_full_size(shared: Path) -> None:
    def state(name: str) -> State:
        found = json.loads((shared / "reference" / "keys" / f"keys_{name}.json").read_text())
        entries: Mapping[str, Any] = found if isinstance(found, dict) else {entry["key"]: entry["shape"] for entry in found}
        shapes = {key.removeprefix("module."): value["shape"] if isinstance(value, dict) else value for key, value in entries.items()}
        return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}

    scales = ("D0_64", "D1_128", "D2_256")
    assert model_of(state("v2_G_birds_3stages"), [state(f"v2_{d}_birds_3stages") for d in scales]) == StackGANv2()
    unconditional = StackGANv2(condition="none", wrong_pairs="none", wrong_as_real=False, color_weight=50)
    assert model_of(state("v2_G_uncond_3stages"), [state(f"v2_{d}_uncond_3stages") for d in scales]) == unconditional
    assert model_of(state("hdgan_G256"), [state("hdgan_D256")]) == HDGAN()
    assert model_of(state("hdgan_G512")) == HDGAN(stage=2)


# -- files that are not checkpoints --------------------------------------------------------------------------------------------


class Runs:
    """Something that an attacker would pickle."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("/tmp/should-never-exist-stackgan"),))  # type: ignore[return-value]


def saved(contents: Any, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(contents, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def malformed() -> dict[str, bytes]:
    generator, others = states_of(LAYOUTS["v2-one-branch"])
    whole, legacy = saved(generator), saved(generator, legacy=True)
    first = "h_net1.fc.0.weight"
    return {
        "truncated": whole[: len(whole) // 2],
        "truncated legacy": legacy[: len(legacy) // 2],
        "a few bytes": whole[:100],
        "damaged in the middle": whole[:2000] + bytes(500) + whole[2500:],
        "wrong keys": saved({f"net.{key}": value for key, value in generator.items()}),
        "a missing tensor": saved({key: value for key, value in generator.items() if key != "img_net1.img.0.weight"}),
        "an extra tensor": saved({**generator, "img_net9.extra": torch.zeros(3)}),
        "a tensor of another shape": saved({**generator, "h_net1.upsample2.1.weight": torch.zeros(3, 3)}),
        "a first tensor of another shape": saved({**generator, first: torch.zeros(7)}),
        "sizes of no configuration": saved({**generator, first: torch.zeros(96, 26)}),
        "a discriminator alone": saved(others[0]),
        "a ZIP with a path that climbs out": zipped({"../netG_1.pth": whole}),
        "a ZIP with an absolute path": zipped({"/tmp/netG_1.pth": whole}),
        "a ZIP without a checkpoint": zipped({"readme.txt": b"hello"}),
        "a ZIP with two checkpoints": zipped({"a.pth": whole, "b.pth": whole}),
        "a ZIP around a text": zipped({"netG.pth": b"hello"}),
        "a cut ZIP": zipped({"netG.pth": whole})[:-60],
        "a pickle that runs code": pickle.dumps(Runs()),
        "a checkpoint that runs code": saved({"x": Runs()}),
        "a legacy checkpoint that runs code": saved({"x": Runs()}, legacy=True),
        "an empty file": b"",
        "text": b"this is not a checkpoint\n",
        "a page": b"<!DOCTYPE html><html><body>Quota exceeded</body></html>",
        "TorchScript": torchscript(),
        "a list": saved([torch.zeros(2)]),
        "numbers": saved({"a": 1, "b": 2.0}),
        "nothing": saved({}),
        "another network": saved(nn.Linear(3, 3).state_dict()),
        "a numpy array": pickle.dumps({"a": [1, 2]}),
    }


@pytest.fixture(scope="module")
def bad_files() -> dict[str, bytes]:
    return malformed()


@pytest.mark.parametrize("case", list(malformed()))
def test_malformed_checkpoints(case: str, bad_files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "netG_1.pth"
    path.write_bytes(bad_files[case])
    refused(capsys, path, tmp_path)


def refused(capsys: pytest.CaptureFixture[str], path: Path, folder: Path) -> None:
    code = main(["--workspace", str(folder), "import", str(path)])
    out, err = capsys.readouterr()
    assert code == 5 and not out and "Traceback" not in err and 10 < len(err) < 1200, (code, err)
    assert err.count("✗") == 1 and path.name in err
    assert not Path("/tmp/should-never-exist-stackgan").exists() and not (folder / "imported").exists()


@pytest.mark.parametrize("kind", ["another model", "truncated", "text"])
def test_malformed_safetensors(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(4, 4)}, path)
    if kind != "another model":
        path.write_bytes(path.read_bytes()[:40] if kind == "truncated" else b"not tensors")
    refused(capsys, path, tmp_path)


def test_a_folder_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    refused(capsys, tmp_path / "models", tmp_path)


def test_discriminators_that_do_not_belong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator, _ = states_of(LAYOUTS["v2"])
    torch.save(generator, tmp_path / "G.pth")
    torch.save(states_of(LAYOUTS["v1-stage1"])[1][0], tmp_path / "D.pth")
    code, _, err = cli(capsys, "import", tmp_path / "G.pth", "--discriminator", tmp_path / "D.pth", "--output", tmp_path / "x.safetensors")
    assert code == 5 and not (tmp_path / "x.safetensors").exists(), err


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("netG_epoch_90.pth", 90),
        ("netG_epoch_90 (1).pth", 90),
        ("netG_epoch_600.pth.tar", 600),
        ("netG_210000.pth", 210000),
        ("netG_210000-v2.pth", 210000),
        ("G_epoch_500.pth", 500),
        ("G_epoch_500_64px.pth", 500),
        ("G_epoch_500_64px - Copy (2).pth", 500),
        ("birds_3stages.pth", 0),
        ("stage2_64px.pth", 0),
        ("birds_3stages.zip", 0),
        ("netG_latest.pth", 0),
        ("cub-2011.pth", 0),
    ],
)
def test_the_step_in_a_name(name: str, step: int) -> None:
    assert step_of_name(name) == step
