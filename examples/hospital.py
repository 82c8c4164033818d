"""A hospital gives synthetic scans away: several scans of each patient, and a promise to patients, not to scans.

    python examples/hospital.py [FOLDER]

FOLDER has a sub-folder for each class, and whose each scan is stands in its name, as PATIENT below finds it. Without
one, scikit-learn's handwritten digits stand in for scans: ten digits for ten parts of the body, three to a made-up
patient. Editors open this file as a notebook, whose cells begin with # %%.
"""

import sys
from pathlib import Path

import raysyn
from raysyn.command import main as command

HERE = {"address": "here"}  # in this process; leave it out, and Ray uses all cores of this machine
OUT = Path("runs/hospital")
PATIENT = r"(patient-\d+)_"  # in the name of a file: abdomen/patient-0042_1.png


def stand_in(folder: Path) -> Path:
    from PIL import Image
    from sklearn.datasets import load_digits

    parts, digits = "abdomen ankle brain chest elbow foot hand hip knee pelvis".split(), load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = folder / parts[digit] / f"patient-{number // 3:04}_{number % 3 + 1}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(file)
    return folder


# An editor's own arguments begin with a dash.
own = [word for word in sys.argv[1:2] if not word.startswith("-")]
scans = own[0] if own else str(stand_in(OUT / "scans"))

# %% What is in the folder? As typed: raysyn look FOLDER --person-pattern '(patient-\d+)_'
command(["look", scans, "--person-pattern", PATIENT, "--sheet", str(OUT / "look.png"), "--overwrite"])

# %% The release. A fifth of the patients are kept back, to measure on them how useful it is. `total` is for all that
# will ever be made of these patients: it is kept beside the folder, and holds for whoever comes next.
data = {"path": scans, "person_pattern": PATIENT, "test_share": 0.2}  # "size": 32 makes scans of any sizes alike
judged = {"classifiers": ("logreg",), "epochs": 100, "feature_epochs": 0}  # the quickest judge
result = raysyn.run(
    "noisy_means", data=data, epsilon=3, delta=1e-5, budget={"total": 4}, synthetic=1000, eval=judged, on=HERE,
    out=str(OUT / "release"),
)  # fmt: skip

# %% What to tell the data protection officer. The same, on two sheets of paper: certificate.html beside the images.
certificate = result.certificate
for sentence in (
    certificate["statement"],
    certificate["what_an_attacker_can_do"]["sentence"],
    certificate["meaning"]["best_guess"]["sentence"],
    certificate["account"]["sentence"],
    f"Not covered: {certificate['does_not_cover'][0]}.",
):
    print("-", sentence)

# %% Does it hold? Whoever is handed the folder can ask that: raysyn verify FOLDER
assert command(["verify", result.paths["release"]]) == 0

# %% More images, of two classes alone. They are drawn from what was paid for, so no patient is asked again.
more = raysyn.draw(
    result.out, synthetic=500, classes=result.images.class_names[:2], on=HERE, quiet=True, out=str(OUT / "more")
)
print(f"{len(more.images)} more images, of {' and '.join(result.images.class_names[:2])}: {more.paths['images']}")

# %% What is left of the total? As typed: raysyn account FOLDER
(spent,) = raysyn.account(scans)["together"]
print(f"Spent: ε {spent['spent']:.2f} of {spent['total']:g}. Room for another of about ε {spent['left']:.2f}.")
print("(More than the difference: the noise of two answers hides more than their epsilons say, added up.)")

# %% A colleague's next study, of the same patients, wants more than is left.
try:
    raysyn.run(
        "noisy_means", data=data, epsilon=3, delta=1e-5, eval=judged, quiet=True, on=HERE, out=str(OUT / "second")
    )
except ValueError as error:
    print("Refused:", error)
