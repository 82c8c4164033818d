"""Read a release with pandas, as a data set of torchvision, with Hugging Face datasets, as class folders, as tar files
of webdataset, and the network that drew it.

    python examples/read_release.py runs/scans/release

For whoever is handed the folder: it needs pandas, PyTorch, torchvision, safetensors and pillow, and nothing of the
program that made it.
"""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.datasets import ImageFolder, VisionDataset
from torchvision.transforms.functional import to_tensor


class Released(VisionDataset):
    """synthetic.parquet for a DataLoader: (image, class), as torchvision's own data sets."""

    def __init__(self, file: Path, transform: Callable[[Image.Image], Any] | None = None) -> None:
        super().__init__(str(file), transform=transform)
        table = pq.read_table(file)
        self.classes: list[str] = json.loads(table.schema.metadata[b"dataset"])["classes"]
        self.pictures, self.labels = table["image"].to_pylist(), table["label"].to_pylist()

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.open(io.BytesIO(self.pictures[index]))
        return (self.transform(image) if self.transform else image), self.labels[index]


def main(release: str) -> None:
    file = Path(release) / "synthetic.parquet"
    print(json.loads((Path(release) / "certificate.json").read_text())["statement"])

    frame = pd.read_parquet(file)  # image: the bytes of a PNG file
    print(f"pandas: {len(frame)} images, of each class {frame['label'].value_counts().sort_index().tolist()}")
    print(f"  the first one is {Image.open(io.BytesIO(frame['image'][0])).size}")

    released = Released(file, transform=to_tensor)
    images, labels = next(iter(torch.utils.data.DataLoader(released, batch_size=8)))
    print(f"torchvision: classes {', '.join(released.classes)}; a batch {tuple(images.shape)} with {labels.tolist()}")

    read_with_datasets(release)
    if (folder := Path(release) / "folder" / "train").is_dir():  # with --release.layout folder
        found = ImageFolder(str(folder))
        print(f"class folders: {len(found)} images of {len(found.classes)} classes")
    if tars := sorted(Path(release).glob("webdataset/*.tar")):  # with --release.layout webdataset
        read_tar_files(tars)
    if (weights := Path(release) / "network.safetensors").exists():  # with --release.network
        tensors = load_file(weights)
        print(f"network: {len(tensors)} tensors, {sum(one.numel() for one in tensors.values()):,} numbers")


def read_with_datasets(release: str) -> None:
    """Decoded images and names of classes, as the card in the folder says."""
    try:
        import datasets
    except ModuleNotFoundError:
        print("datasets of Hugging Face is not installed")
        return
    loaded = datasets.load_dataset(release, split="train")
    print(f"datasets: {loaded.features['label'].names}, the first image {loaded[0]['image'].size}")


def read_tar_files(tars: list[Path]) -> None:
    """Pairs of .png and .cls, which webdataset puts together by their names."""
    try:
        import webdataset
    except ModuleNotFoundError:
        pairs: dict[str, dict[str, bytes]] = {}
        for tar in map(tarfile.open, tars):
            with tar:
                for one in tar:
                    key, _, ending = one.name.partition(".")
                    content = tar.extractfile(one)
                    assert content is not None
                    pairs.setdefault(key, {})[ending] = content.read()
        print(f"tar files: {len(pairs)} images, the first of class {int(next(iter(pairs.values()))['cls'])}")
        return
    samples = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False).decode("pil"))
    print(f"tar files: {len(samples)} images, the first of class {samples[0]['cls']}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python examples/read_release.py FOLDER, that of a release", file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1])
