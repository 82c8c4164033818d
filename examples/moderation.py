"""A classifier of images nobody may see is to be handed out: attack it first, then train it on a private release.

    python examples/moderation.py [FOLDER]

FOLDER has train/ and test/, each with a sub-folder for each class. Without one, scikit-learn's handwritten digits stand
in for reported images, one of each made-up case. Editors open this file as a notebook, whose cells begin with # %%.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import raysyn
from raysyn.data.images import DataConfig, load

HERE, OUT = {"address": "here"}, Path("runs/moderation")  # leave out `on=HERE`, and Ray uses all cores of this machine
SIZE = 8  # pixels a side


def stand_in(folder: Path) -> Path:
    digits, drawn = load_digits(), np.random.RandomState(1).rand(800)
    for number, (pixels, digit) in enumerate(zip(digits.images[:800], digits.target, strict=False)):
        split = "train" if drawn[number] < 0.5 else "test"
        file = folder / split / f"kind-{digit}" / f"case-{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(file)
    return folder


# An editor's own arguments begin with a dash.
own = [word for word in sys.argv[1:2] if not word.startswith("-")]
reports = own[0] if own else str(stand_in(OUT / "reports"))
data = {"path": reports, "size": SIZE}

# %% May a classifier of these images be handed out as it is? The attack trains one here, and others that have seen half
# of the images each. target={"checkpoint": "net.pt", "model": "mynets:build"} attacks yours
# (docs/attack_your_classifier.md).
attack: dict[str, Any] = {"recipe": {"epochs": 15}, "attack": {"shadow_models": 8}}  # 64 shadow models tell more
attacked = raysyn.run("lira", data=data, quiet=True, on=HERE, out=str(OUT / "attack"), **attack)

# %% The headline in words. 0.5 is guessing, 1 is knowing; the interval says how sure so few images make it.
found = attacked.report["attacks"]["target"]["headline"]
auc, control = found["auc"], found["control"]
print(f"A training image is told from another one with probability {auc['value']:.2f}", end=" ")
print(f"({auc['low']:.2f} to {auc['high']:.2f}); of a model that never saw it, {control['value']:.2f}.")
if not control["low"] <= 0.5 <= control["high"]:
    print("Training and test images differ otherwise, too: this attack cannot say whether the classifier remembers.")
elif auc["low"] > 0.5:
    print("It gives its training images away: keep it inside.")
else:
    print("No leak was shown, which does not prove that there is none.")

# %% Instead: a private release, and a classifier that has seen nothing but that.
judged = {"classifiers": (), "feature_epochs": 0}  # it is judged below
result = raysyn.run(
    "noisy_means", data=data, epsilon=4, delta=1e-5, synthetic=1000, eval=judged, quiet=True, on=HERE,
    out=str(OUT / "release"),
)  # fmt: skip


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


made, real = result.images, load(DataConfig(path=reports, size=SIZE))
handed_out = LogisticRegression(max_iter=1000).fit(flat(made.images_NHWC), made.labels_N)
for whose, images in (("private images, which it never saw", real.train), ("test images", real.test)):
    print(f"right about {100 * handed_out.score(flat(images.images_NHWC), images.labels_N):.1f} % of {whose}")
direct = LogisticRegression(max_iter=1000).fit(flat(real.train.images_NHWC), real.train.labels_N)
beside = direct.score(flat(real.test.images_NHWC), real.test.labels_N)
print(f"(one trained on the private images: {100 * beside:.1f} %)")

# %% What that promises. An attack shows what one attacker found; this bounds them all, also those nobody knows yet.
print(result.certificate["statement"])
print(result.certificate["what_an_attacker_can_do"]["sentence"])
print(f"Covered: {result.certificate['covers'][0]}.")
