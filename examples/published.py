"""The tables of the papers, and the preset of ours that stands for each of their models. Data only.

StackGAN++ (arXiv 1710.10916), Tables 2 to 5; HDGAN (CVPR 2018 draft), Tables 1 to 6. `-` marks values that are missing there.
GAN-INT-CLS, GAWWN, TAC-GAN and Prog.GAN are not part of this package, and human ranks cannot be computed: those values stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A preset and the dataset it is trained on, which is also the default name of the cache."""

    preset: str
    dataset: str = "cub"

    @property
    def split(self) -> str:
        """The split it is compared with: captioned datasets have a test split, LSUN and ImageNet are not divided."""
        return "all" if self.dataset.startswith(("lsun-", "imagenet-")) else "test"


TEXT = ("cub", "oxford-102", "coco")
NOISE = ("lsun-bedroom", "lsun-church", "imagenet-dog", "imagenet-cat")
FINE_TUNED = ("cub", "oxford-102")
"""Datasets whose inception score is computed with a classifier of their own test classes."""

MODELS: dict[str, Model] = {
    "v1": Model("v1-stage2"),
    "v1-oxford-102": Model("v1-stage2", "oxford-102"),
    "v1-coco": Model("v1-stage2", "coco"),
    **{f"v1-{dataset}": Model(f"v1-stage2-{dataset}", dataset) for dataset in NOISE},
    "v2": Model("v2-cub"),
    **{f"v2-{dataset}": Model(f"v2-{dataset}", dataset) for dataset in (*TEXT[1:], *NOISE)},
    "v1-64": Model("v1-table4-64-ca"),
    "v1-64-noca": Model("v1-table4-64-noca"),
    "v1-256-stage1": Model("v1-table4-256-stage1-ca"),
    "v1-256-stage1-noca": Model("v1-table4-256-stage1-noca"),
    "v1-128": Model("v1-table4-128-ca-twice"),
    "v1-128-once": Model("v1-table4-128-ca-once"),
    "v1-128-noca": Model("v1-table4-128-noca-twice"),
    "v1-256": Model("v1-table4-256-ca-twice"),
    "v1-256-once": Model("v1-table4-256-ca-once"),
    "v1-256-noca": Model("v1-table4-256-noca-twice"),
    "no-jcu": Model("v2-table5-no-jcu"),
    "g3": Model("v2-table5-g3"),
    "3g3": Model("v2-table5-3g3"),
    "all256": Model("v2-table5-all256"),
    "hdgan": Model("hdgan-cub"),
    "hdgan-oxford-102": Model("hdgan-oxford-102", "oxford-102"),
    "hdgan-coco": Model("hdgan-coco", "coco"),
    "hdgan-no-local": Model("hdgan-no-local"),
    "hdgan-at-256": Model("hdgan-table6-256"),
    "hdgan-at-128-256": Model("hdgan-table6-128-256"),
    "hdgan-at-64-256": Model("hdgan-table6-64-256"),
}


@dataclass(frozen=True)
class Cell:
    """`published` is the value as printed. `metric` is its name in `evaluate`, `side` selects a resolution,
    `of` the key of the result."""

    published: str
    model: str = ""
    metric: str = ""
    side: int | None = None
    of: str = "value"


@dataclass(frozen=True)
class Table:
    """A table in the paper's layout: `labels` are the headings of the text columns, `columns` those of the columns of values."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]


def cells(figures: str, models: tuple[str, ...] = (), metric: str = "", of: str = "value") -> tuple[Cell, ...]:
    """A row of values, separated by two spaces; the model in the same place belongs to each."""
    published = figures.split("  ")
    own = models[: len(published)] or [""] * len(published)
    return tuple(Cell(text, model, metric if model else "", of=of) for text, model in zip(published, own, strict=True))


def is_of(figure: str, model: str) -> tuple[Cell, ...]:
    """A row that is one inception score."""
    return cells(figure, (model,), "is")


V1 = ("v1", *(f"v1-{dataset}" for dataset in (*TEXT[1:], *NOISE)))
V2 = ("v2", *(f"v2-{dataset}" for dataset in (*TEXT[1:], *NOISE)))
HD = ("hdgan", "hdgan-oxford-102", "hdgan-coco")
TABLE2 = ("", "", "v1", "", "v1-oxford-102", "", "v1-coco")
LOCAL = ("hdgan-no-local", "hdgan")

TABLES: dict[str, Table] = {
    "2": Table(
        "StackGAN++ Table 2: StackGAN-v1 and earlier models",
        ("metric",),
        ("CUB GAN-INT-CLS", "CUB GAWWN", "CUB v1", "Oxford GAN-INT-CLS", "Oxford v1", "COCO GAN-INT-CLS", "COCO v1"),
        (
            (("FID",), cells("68.79  67.22  51.89  79.55  55.28  60.62  74.05", TABLE2, "fid")),
            (("FID*",), cells("68.79  53.51  35.11  79.55  43.02  60.62  33.88", TABLE2, "fid-64")),
            (("IS",), cells("2.88 ± .04  3.62 ± .07  3.70 ± .04  2.66 ± .03  3.20 ± .01  7.88 ± .07  8.45 ± .03", TABLE2, "is")),
            (("IS*",), cells("2.88 ± .04  3.10 ± .03  3.02 ± .03  2.66 ± .03  2.73 ± .03  7.88 ± .07  8.35 ± .11", TABLE2, "is-64")),
            (("HR",), cells("2.76 ± .01  1.95 ± .02  1.29 ± .02  1.84 ± .02  1.16 ± .02  1.82 ± .03  1.18 ± .03")),
        ),
    ),
    "3": Table(
        "StackGAN++ Table 3: StackGAN-v1 and StackGAN-v2 on all datasets",
        ("metric", "model"),
        ("CUB", "Oxford", "COCO", "LSUN bedroom", "LSUN church", "ImageNet dog", "ImageNet cat"),
        (
            (("FID", "StackGAN-v1"), cells("51.89  55.28  74.05  91.94  57.20  89.21  58.73", V1, "fid")),
            (("FID", "StackGAN-v2"), cells("15.30  48.68  81.59  35.61  25.36  44.54  28.59", V2, "fid")),
            (
                ("IS", "StackGAN-v1"),
                cells("3.70 ± .04  3.20 ± .01  8.45 ± .03  3.59 ± .05  2.87 ± .05  8.84 ± .08  4.77 ± .06", V1, "is"),
            ),
            (
                ("IS", "StackGAN-v2"),
                cells("4.04 ± .05  3.26 ± .01  8.30 ± .10  3.02 ± .04  2.38 ± .03  9.55 ± .11  4.23 ± .05", V2, "is"),
            ),
            (("HR", "StackGAN-v1"), cells("1.81 ± .02  1.70 ± .03  1.45 ± .04  1.95 ± .01  1.86 ± .02  1.90 ± .01  1.88 ± .02")),
            (("HR", "StackGAN-v2"), cells("1.19 ± .02  1.30 ± .03  1.55 ± .05  1.05 ± .01  1.14 ± .02  1.10 ± .01  1.12 ± .02")),
        ),
    ),
    "4": Table(
        "StackGAN++ Table 4: StackGAN-v1 and its baselines, CUB",
        ("model", "CA", "text twice"),
        ("IS",),
        (
            (("64x64 Stage-I", "no", "-"), is_of("2.66 ± .03", "v1-64-noca")),
            (("64x64 Stage-I", "yes", "-"), is_of("2.95 ± .02", "v1-64")),
            (("256x256 Stage-I", "no", "-"), is_of("2.48 ± .00", "v1-256-stage1-noca")),
            (("256x256 Stage-I", "yes", "-"), is_of("3.02 ± .01", "v1-256-stage1")),
            (("128x128 StackGAN-v1", "yes", "no"), is_of("3.13 ± .03", "v1-128-once")),
            (("128x128 StackGAN-v1", "no", "yes"), is_of("3.20 ± .03", "v1-128-noca")),
            (("128x128 StackGAN-v1", "yes", "yes"), is_of("3.35 ± .02", "v1-128")),
            (("256x256 StackGAN-v1", "yes", "no"), is_of("3.45 ± .02", "v1-256-once")),
            (("256x256 StackGAN-v1", "no", "yes"), is_of("3.31 ± .03", "v1-256-noca")),
            (("256x256 StackGAN-v1", "yes", "yes"), is_of("3.70 ± .04", "v1-256")),
        ),
    ),
    "5": Table(
        "StackGAN++ Table 5: StackGAN-v2 and its baselines, CUB",
        ("model", "G1", "G2", "G3", "JCU"),
        ("IS",),
        (
            (("StackGAN-v2", "64", "128", "256", "yes"), is_of("4.04 ± .05", "v2")),
            (("StackGAN-v2-no-JCU", "64", "128", "256", "no"), is_of("3.77 ± .04", "no-jcu")),
            (("StackGAN-v2-G3", "-", "-", "256", "yes"), is_of("3.49 ± .04", "g3")),
            (("StackGAN-v2-3G3", "-", "-", "3 x 256", "yes"), is_of("3.22 ± .02", "3g3")),
            (("StackGAN-v2-all256", "256", "256", "256", "yes"), is_of("2.89 ± .02", "all256")),
        ),
    ),
    "hdgan-1": Table(
        "HDGAN Table 1: inception scores",
        ("method",),
        ("CUB", "Oxford", "COCO"),
        (
            (("GAN-INT-CLS",), cells("2.88 ± .04  2.66 ± .03  7.88 ± .07")),
            (("GAWWN",), cells("3.60 ± .07  -  -")),
            (("StackGAN",), cells("3.70 ± .04  3.20 ± .01  8.45 ± .03", V1, "is")),
            (("StackGAN++",), cells("3.84 ± .06  -  -", V2, "is")),
            (("TAC-GAN",), cells("-  3.45 ± .05  -")),
            (("HDGAN",), cells("4.15 ± .05  3.45 ± .07  -", HD, "is")),
        ),
    ),
    "hdgan-2": Table(
        "HDGAN Table 2: inception scores at several resolutions, CUB",
        ("method",),
        ("64x64", "128x128", "256x256"),
        (
            (("StackGAN",), cells("2.95 ± .02  3.35 ± .02  3.70 ± .04", ("v1-64", "v1-128", "v1-256"), "is")),
            (
                ("HDGAN, outputs of one model",),
                (
                    Cell("3.46 ± .04", "hdgan", "is", side=64),
                    Cell("3.85 ± .04", "hdgan", "is", side=128),
                    Cell("4.15 ± .05", "hdgan", "is", side=256),
                ),
            ),
        ),
    ),
    "hdgan-3": Table(
        "HDGAN Table 3: MS-SSIM of random pairs (lower is more diverse), CUB",
        ("method",),
        ("MS-SSIM",),
        (
            (("StackGAN",), cells("0.234", ("v1",), "ms-ssim")),
            (("Prog.GAN",), cells("0.225")),
            (("HDGAN",), cells("0.215", ("hdgan",), "ms-ssim")),
        ),
    ),
    "hdgan-4": Table(
        "HDGAN Table 4: visual-semantic similarity",
        ("method",),
        ("CUB", "Oxford", "COCO"),
        (
            (("ground truth",), cells("0.302 ± .151  0.336 ± .138  -", HD, "vs-similarity", of="real")),
            (("StackGAN",), cells("0.228 ± .162  0.278 ± .134  -", V1, "vs-similarity")),
            (("HDGAN",), cells("0.259 ± .159  -  -", HD, "vs-similarity")),
        ),
    ),
    "hdgan-5": Table(
        "HDGAN Table 5: the local image loss, CUB",
        ("metric",),
        ("without local loss", "with local loss"),
        (
            (("MS-SSIM",), cells("-  0.215", LOCAL, "ms-ssim")),
            (("VS",), cells("-  0.259 ± .159", LOCAL, "vs-similarity")),
            (("IS",), cells("-  4.15 ± .05", LOCAL, "is")),
        ),
    ),
    "hdgan-6": Table(
        "HDGAN Table 6: which resolutions are supervised, CUB",
        ("64", "128", "256"),
        ("IS",),
        (
            (("", "", "x"), is_of("3.52 ± .04", "hdgan-at-256")),
            (("", "x", "x"), is_of("3.99 ± .04", "hdgan-at-128-256")),
            (("x", "", "x"), is_of("4.14 ± .03", "hdgan-at-64-256")),
            (("x", "x", "x"), is_of("4.15 ± .05", "hdgan")),
        ),
    ),
}
