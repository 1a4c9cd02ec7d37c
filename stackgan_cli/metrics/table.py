"""The table of metrics. A new metric is one function and one entry of METRICS.

A function computes a `Score` from the `Inputs` that its entry asks for. The formulas are in `scores.py`, `ms_ssim.py`, `joint_space.py` and
`accuracy.py`; they are imported inside the functions because they need torch, and `--help` names the metrics without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from stackgan_cli.errors import UsageError, did_you_mean
from stackgan_cli.metrics.metric import Inputs, Metric, Score

SMALL_SIDE = 64
"""Side to which fid-64 and is-64 (FID* and IS* of StackGAN++, Table 2) resize every image first."""
FEW_IMAGES = 10_000
"""Below this number of images, FID depends strongly on the number (Heusel et al. 2017)."""
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
NEIGHBORS = 3
CANDIDATES, FOLDS = 100, 10
"""For R-precision: number of candidate captions per image, and number of folds of the images."""


def fid(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.scores import frechet_distance

    fake, real = inputs.moments, inputs.real
    assert fake is not None and real is not None
    smallest, dimensions = min(fake.n, real.count or fake.n), len(real.mean)
    warning = ""
    if smallest <= dimensions:
        warning = f"from {smallest:,} images with {dimensions:,}-dimensional features: fewer images than dimensions"
    elif smallest < FEW_IMAGES:
        warning = f"from {smallest:,} images: comparable only with values from the same number of images"
    value = frechet_distance(fake.mean, fake.covariance, real.mean, real.covariance)
    return Score(value, facts={"n_real": real.count}, warning=warning)


def inception(inputs: Inputs) -> Score:
    import numpy as np

    from stackgan_cli.metrics.scores import inception_score

    assert inputs.logits is not None
    order = np.random.default_rng(inputs.seed).permutation(len(inputs.logits))  # else splits of sorted images have few classes
    mean, std = inception_score(inputs.logits[order], inputs.splits)
    return Score(mean, std, {"splits": inputs.splits, "shuffled": True})


def kid(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.scores import kernel_distance

    real = inputs.real
    assert real is not None and real.features is not None and inputs.features is not None
    size = min(KID_SUBSET_SIZE, len(real.features), inputs.count)
    mean, std = kernel_distance(real.features, inputs.features, subsets=KID_SUBSETS, size=size, seed=inputs.seed)
    return Score(mean, std, {"n_real": real.count, "subsets": KID_SUBSETS, "subset_size": size})


def precision_and_recall(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.scores import precision_recall

    real = inputs.real
    assert real is not None and real.features is not None and inputs.features is not None
    precision, recall = precision_recall(real.features, inputs.features, k=NEIGHBORS)
    return Score(precision, None, {"n_real": real.count, "k": NEIGHBORS}, {"precision": precision, "recall": recall})


def ms_ssim(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.ms_ssim import ms_ssim_diversity

    assert inputs.images is not None and inputs.image_indices is not None
    classes = None if inputs.class_ids is None else inputs.class_ids[inputs.image_indices]
    found = ms_ssim_diversity(inputs.images, classes, seed=inputs.seed, compat=inputs.compat)
    overall = found["overall"]
    assert overall is not None
    more = {key: value for key, value in found.items() if value is not None}
    return Score(overall, None, {"pictures": len(inputs.images), "compat": inputs.compat}, more)


def vs_similarity(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.joint_space import similarity

    assert inputs.pairs is not None
    each = similarity(*inputs.pairs)
    more = {}
    if inputs.real_pairs is not None:
        real = similarity(*inputs.real_pairs)
        more = {"real": float(real.mean()), "real_std": float(real.std()), "n_real": len(real)}
    return Score(float(each.mean()), float(each.std()), more=more)


def r_precision(inputs: Inputs) -> Score:
    from stackgan_cli.metrics import scores

    assert inputs.pairs is not None
    images, texts = inputs.pairs
    mean, std = scores.r_precision(images, texts, inputs.class_ids, candidates=CANDIDATES, folds=FOLDS, seed=inputs.seed)
    return Score(mean, std, {"candidates": CANDIDATES, "folds": FOLDS})


def accuracy(inputs: Inputs) -> Score:
    from stackgan_cli.metrics.accuracy import accuracy_facts, agreement

    assert inputs.logits is not None and inputs.right is not None
    share, by_output = agreement(inputs.logits, inputs.right)
    return Score(share, more=accuracy_facts(by_output, inputs.outputs))


METRICS: tuple[Metric, ...] = (
    Metric(
        name="fid",
        title="FID",
        help="Fréchet distance to the features of real images",
        function=fid,
        reference="required",
        moments=True,
    ),
    Metric(
        name="fid-64",
        title="FID*",
        help="FID of images resized to 64 px (FID* of StackGAN++)",
        function=fid,
        reference="required",
        moments=True,
        side=SMALL_SIDE,
    ),
    Metric(
        name="is",
        title="IS",
        help="inception score",
        function=inception,
        logits=True,
        minimum=lambda protocol: protocol.splits,
    ),
    Metric(
        name="is-64",
        title="IS*",
        help="IS of images resized to 64 px (IS* of StackGAN++)",
        function=inception,
        logits=True,
        side=SMALL_SIDE,
        minimum=lambda protocol: protocol.splits,
    ),
    Metric(
        name="kid",
        title="KID",
        help="kernel distance to the features of real images",
        function=kid,
        reference="required",
        features=True,
    ),
    Metric(
        name="precision-recall",
        title="precision, recall",
        help="fidelity and coverage, by nearest neighbors",
        function=precision_and_recall,
        reference="required",
        features=True,
        minimum=NEIGHBORS + 1,
    ),
    Metric(
        name="ms-ssim",
        title="MS-SSIM",
        help="similarity of images to one another; lower is more diverse",
        function=ms_ssim,
        images=True,
    ),
    Metric(
        name="vs-similarity",
        title="VS similarity",
        help="similarity of images and their captions (HDGAN)",
        function=vs_similarity,
        reference="optional",
        pairs=True,
    ),
    Metric(
        name="r-precision",
        title="R-precision",
        help=f"share of images closest to their own of {CANDIDATES} captions",
        function=r_precision,
        pairs=True,
        minimum=CANDIDATES,
    ),
    Metric(
        name="accuracy",
        title="accuracy",
        help="share of images to which a classifier gives their label",
        function=accuracy,
        logits=True,
        labels=True,
        minimum=1,
    ),
)


def find_metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics with those names, each possibly a comma-separated list. Raises UsageError, with a suggestion, for an unknown one."""
    known = {metric.name: metric for metric in METRICS}
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for name in wanted:
        if name not in known:
            raise UsageError(f"unknown metric {name!r}{did_you_mean(name, known)}", where="--metric", hint=f"one of: {', '.join(known)}")
    if names and not wanted:
        raise UsageError("no metric was given", where="--metric", hint=f"one of: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]
