"""What many tests share: a single thread, the folder of reference material if there is one, and a small prepared workspace."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # programs started by tests use one thread as well

import pytest
import torch

from stackgan_cli.training import loop
from stackgan_cli.workspace import Workspace

torch.set_num_threads(1)
loop.SETTLING_IMAGES = 32  # tiny runs would spend most of their time on the statistics of their averages

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and reference numbers; tests that need it are skipped without it."""
    folder = Path(os.environ.get("STACKGAN_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference material at {folder} (set STACKGAN_SHARED)")
    return folder


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from stackgan_cli.config.archs import CharCNNRNN as Config
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.data.caption_vectors import CaptionVectors
    from stackgan_cli.data.demo_birds import demo_records
    from stackgan_cli.data.prepare import prepare
    from stackgan_cli.encoders.text_encoder import TextEncoder
    from stackgan_cli.models.char_cnn_rnn import CharCNNRNN

    workspace = Workspace(tmp_path_factory.mktemp("prepared"))
    prepare(demo_records(100, 50, image_size=76), workspace.cache_path_for("demo"), dataset="demo", image_size=76, workers=1)
    config = Config(text_dim=64, conv_dims=(8, 8), rnn_dim=16)
    torch.manual_seed(0)
    encoder = TextEncoder.from_state(config, CharCNNRNN(config.variant, 64, (8, 8), 16).state_dict())
    encoder.save(workspace.encoder_path(encoder.hash))
    cache = Cache.open(workspace.cache_path("demo"))
    CaptionVectors.write(cache, encoder.encode(cache.captions), encoder.identity, encoder.hash)
    return workspace.root


@pytest.fixture
def workspace(_prepared: Path, tmp_path: Path) -> Workspace:
    """A separate workspace for each test: 100 demo birds at 76 px, text embeddings by an untrained encoder (T = 64), no runs."""
    root = tmp_path / "workspace"
    shutil.copytree(_prepared, root, copy_function=os.link)
    return Workspace(root)
