"""A bank hands out digits of cheques: unbalanced classes, settings chosen on public letters, a vendor who learns.

    python examples/bank.py [FOLDER]

FOLDER has train/ and test/, each with a sub-folder for each class, and one image of each client. Without one,
scikit-learn's handwritten digits stand in for those of cheques, small ones more often, as in amounts of money. Editors
open this file as a notebook, whose cells begin with # %%.
"""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import raysyn
from raysyn.data.images import DataConfig, load

HERE, OUT = {"address": "here"}, Path("runs/bank")  # leave out `on=HERE`, and Ray uses all cores of this machine
SIZE = 8  # pixels a side
JUDGED: dict[str, Any] = {"classifiers": ("logreg",), "epochs": 100, "feature_epochs": 0}  # the quickest judge


def learned(images: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    return LogisticRegression(max_iter=1000).fit(flat(images), labels)


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


def stand_in(folder: Path) -> Path:
    digits, seen = load_digits(), [0] * 10
    for pixels, digit in zip(digits.images, digits.target, strict=True):
        seen[digit] += 1
        split = "test" if seen[digit] % 6 == 0 else "train"
        if split == "test" or seen[digit] <= 180 - 14 * digit:  # 150 zeros to learn from, and 45 nines
            file = folder / split / str(digit) / f"client-{seen[digit]:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 255 / 16).astype("uint8")).save(file)
    return folder


own = [word for word in sys.argv[1:2] if not word.startswith("-")]  # an editor's arguments begin with a dash
cheques = own[0] if own else str(stand_in(OUT / "cheques"))

# %% Which settings? To try them on the clients' images would tell of these, and no ledger would know. So: on letters,
# which are public. raysyn draws them; ten of them are as many classes as there are digits.
letters = load(DataConfig(name="glyphs", size=SIZE))
train, test = (images.select(np.flatnonzero(images.labels_N < 10)) for images in (letters.train, letters.test))
public: dict[str, Any] = {"train_images": train.images_NHWC, "train_labels": train.labels_N}
np.savez(OUT / "letters.npz", **public, test_images=test.images_NHWC, test_labels=test.labels_N)
asked = {"epsilon": 4, "delta": 1e-5, "synthetic": 1000, "on": HERE}
reached = {}
for spread in (0, 16, 64):  # how finely to ask in which ways images of a class differ
    tried = raysyn.run(
        "noisy_means", data={"path": str(OUT / "letters.npz")}, budget={"account": "none"}, quiet=True,
        moments={"spread_frequencies": spread}, eval={"classifiers": (), "feature_epochs": 0},
        out=str(OUT / f"letters-{spread}"), **asked,
    ).images  # fmt: skip
    reached[spread] = learned(tried.images_NHWC, tried.labels_N).score(flat(test.images_NHWC), test.labels_N)
    print(f"on public letters, {spread:2} spread frequencies: {100 * reached[spread]:.1f} %")
best = max(reached, key=lambda spread: reached[spread])

# %% The release. How many images each class has is private: it is asked for, with noise, and paid for like all else.
result = raysyn.run(
    "noisy_means", data={"path": cheques, "size": SIZE}, classes={"noisy_counts": 10},
    moments={"spread_frequencies": best}, tuned_on="ten letters of raysyn's glyphs, which are public",
    eval=JUDGED, out=str(OUT / "release"), **asked,
)  # fmt: skip
print(result.certificate["statement"])

# %% The vendor is handed the folder release/, and has pandas and scikit-learn alone.
frame = pd.read_parquet(result.paths["images"])  # image: the bytes of a PNG file
print("of each class:", frame["label"].value_counts().sort_index().tolist())
pictures = np.stack([np.asarray(Image.open(io.BytesIO(one))) for one in frame["image"]])
vendors = learned(pictures, frame["label"].to_numpy())

# %% Back in the bank, which alone has real images to test it on. What the report says inside, beside it.
test = load(DataConfig(path=cheques, size=SIZE)).test
right = vendors.score(flat(test.images_NHWC), test.labels_N)
inside = result.report["metrics"]["utility"]["logreg"]
print(f"The vendor's classifier is right about {100 * right:.1f} % of {len(test)} real test images.")
made, real = 100 * inside["accuracy"], 100 * inside["accuracy_real_data"]
print(f"The report says {made:.1f} %, and {real:.1f} % from real images.")
