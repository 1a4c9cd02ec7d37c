"""Labels matched to the outputs of a classifier, the share that it recognizes, and uncropped real images."""

from __future__ import annotations

import numpy as np
import pytest

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.pixels import reduce_images
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.metrics.accuracy import accuracy_facts, agreement, match_outputs
from stackgan_cli.metrics.image_sets import CacheSet, GeneratedSet
from stackgan_cli.workspace import Workspace

LABELS = np.array([0, 2, 1, 2])
NAMES = ("cat", "dog", "crab")


def test_outputs_are_matched_by_name_and_else_by_number() -> None:
    assert match_outputs(LABELS, NAMES, ("crab", "cat", "bee", "dog"), 4).tolist() == [1, 0, 3, 0]
    assert match_outputs(np.array([0, 2]), NAMES, ("crab", "cat"), 2).tolist() == [1, 0], "only labels that occur"
    for names, outputs in ((None, NAMES), (NAMES, None), (None, None)):
        assert match_outputs(LABELS, names, outputs, 3).tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("names", "outputs", "count", "expected"),
    [
        (NAMES, ("cat", "bee", "crab"), 3, "does not know 'dog'"),
        (NAMES, ("bee",), 1, "does not know 'cat' and 2 more labels"),
        (NAMES, None, 1000, "has 1,000 classes, and it is not known which of them correspond to the 3 labels"),
        (None, NAMES[:2], 2, "has 2 classes, and it is not known which of them correspond to the 3 labels"),
    ],
)
def test_outputs_that_are_not_known(names: tuple[str, ...] | None, outputs: tuple[str, ...] | None, count: int, expected: str) -> None:
    with pytest.raises(MismatchError, match=expected):
        match_outputs(LABELS, names, outputs, count, where="judge")


def test_agreement_is_the_share_of_largest_outputs() -> None:
    right = np.array([0, 0, 1, 2])
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))
    share, by_output = agreement(logits, right)
    assert share == 0.75 and by_output == {0: 0.5, 1: 1.0, 2: 1.0}
    assert accuracy_facts(by_output, NAMES) == {"lowest": 0.5, "by_label": {"cat": 0.5, "dog": 1.0, "crab": 1.0}}
    assert set(accuracy_facts(by_output, None)["by_label"]) == {"0", "1", "2"}
    uniform = np.random.default_rng(0).normal(size=(4000, 10))
    assert agreement(uniform, np.arange(4000) % 10)[0] == pytest.approx(0.1, abs=0.02)


def test_pictures_of_captions_have_classes_but_no_labels() -> None:
    def pictures(**known: object) -> GeneratedSet:
        return GeneratedSet(lambda indices: np.zeros((len(indices), 8, 8, 3), np.uint8), 4, 8, class_ids=LABELS, description={}, **known)  # type: ignore[arg-type]

    assert pictures(captions=["a"] * 4).labels is None and pictures().labels is LABELS


def test_real_images_are_seen_whole_where_a_model_sees_them_so(workspace: Workspace) -> None:
    cache = Cache.open(workspace.cache_path("demo"))
    cut, whole = CacheSet(cache, "test", 32), CacheSet(cache, "test", 32, whole=True)
    indices = np.arange(5)
    assert (whole.read(indices) == reduce_images(cache.images[whole.rows[indices]], 32)).all()
    assert (cut.read(indices) == reduce_images(cache.images[cut.rows[indices]], 38)[:, 3:35, 3:35]).all()
    assert whole.identity != cut.identity and (cut.description["crop"], whole.description["crop"]) == ("centre", "none")
    own = CacheSet(cache, "test", 76)
    assert own.whole and (own.read(indices) == cache.images[own.rows[indices]]).all()
    with pytest.raises(DataError, match="76 px, too small for a resolution of 128 px"):
        CacheSet(cache, "test", 128, whole=True)
