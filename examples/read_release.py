"""Read released images with pandas, as a data set of torchvision, and with Hugging Face datasets. Needs no raysyn.

python examples/read_release.py runs/scans/release
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from PIL import Image
from torchvision.datasets import VisionDataset
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

    try:
        import datasets
    except ModuleNotFoundError:
        print("datasets of Hugging Face is not installed")
        return
    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train").cast_column(
        "image", datasets.Image()
    )
    print(f"datasets: {loaded}, the first image {loaded[0]['image'].size}")


if __name__ == "__main__":
    main(*sys.argv[1:])
