"""The published weights of the two Inception networks: their URLs and digests, and the search for them on this machine.

`tf-inception-2015` is TensorFlow's graph ported by pytorch-fid; torch-fidelity publishes the same bytes under another name. Its size and
SHA-256 are checked. For torchvision's file, only the first eight digits of the SHA-256 are published (in its name), so those are checked,
together with its size.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from stackgan_cli.data.download import Progress, Remote, download, matches
from stackgan_cli.errors import EnvironmentProblem, MismatchError, UsageError


@dataclass(frozen=True)
class Published:
    """A weights file, and other names that it is published under."""

    remote: Remote
    other_names: tuple[str, ...] = ()


PUBLISHED = {
    "tf-inception-2015": Published(
        Remote(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            "pt_inception-2015-12-05-6726825d.pth",
            95_628_359,
            "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
        ("weights-inception-2015-12-05-6726825d.pth",),
    ),
    "torchvision-inception": Published(
        Remote(
            "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
            "inception_v3_google-0cc3c7bd.pth",
            108_949_747,
            "sha256:0cc3c7bd",
        )
    ),
}


def offline_wanted() -> bool:
    """Whether $STACKGAN_OFFLINE forbids downloads."""
    return os.environ.get("STACKGAN_OFFLINE", "").lower() not in ("", "0", "no", "false")


def find_weights(kind: str, folder: Path | None, *, offline: bool | None = None, progress: Progress | None = None) -> Path:
    """The published file of `kind`: from `folder`, from the downloads of torch.hub, or downloaded into `folder` (default: torch.hub's).

    If `offline` is None, $STACKGAN_OFFLINE decides. Raises MismatchError when a file of that name has other contents, and
    EnvironmentProblem (exit 6), which says which file to put where, when it is neither found nor can be downloaded.
    """
    published = PUBLISHED[kind]
    remote = published.remote
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    folders = [hub] if folder is None else [folder.expanduser(), hub]
    for place in folders:
        for name in (remote.file_name, *published.other_names):
            if (place / name).is_file():
                if not matches(place / name, remote):
                    raise MismatchError(
                        f"is not the published file ({remote.size:,} bytes, {remote.digest})",
                        where=place / name,
                        hint="remove it and run again",
                    )
                return place / name
    wanted = f"{remote.file_name} ({remote.size:,} bytes, {remote.digest}) from {remote.url}"
    hint = f"put {wanted} into {folders[0]}, or use another --extractor"
    if offline_wanted() if offline is None else offline:
        raise EnvironmentProblem(f"the weights of {kind} are missing, and downloads are disabled", where=folders[0], hint=hint)
    try:
        return download(remote, folders[0], progress)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"the weights of {kind} are missing: {error}", where=folders[0], hint=hint) from None


def given_weights(path: Path) -> Path:
    """A file given by the user. Raises UsageError when it does not exist or is a folder."""
    path = path.expanduser()
    if path.is_dir():
        raise UsageError("is a folder, not a weights file", where=path)
    if not path.is_file():
        raise UsageError("no such file", where=path)
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def class_names(path: Path) -> tuple[str, ...] | None:
    """Class names, one per line, from the text file beside a network (NAME.txt beside NAME.pt); None when there is no such file."""
    labels = path.with_suffix(".txt")
    if labels == path or not labels.is_file():
        return None
    try:
        return tuple(line.strip() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip())
    except (UnicodeDecodeError, OSError) as error:
        raise MismatchError(f"is not a list of class names ({error})", where=labels, hint="write one name per line") from None
