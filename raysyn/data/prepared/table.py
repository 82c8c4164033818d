"""The sets that `raysyn prepare` knows, with numbers and sizes as in the papers that use them.

DP-FETA: tables I and V (CelebA's published steps are those of train and val). PrivImage: section 4.1 and table 5 (its
steps are those of all of CelebA). DP-ImgSyn: table 13.
"""

from __future__ import annotations

from raysyn.data.prepared import camelyon, celeba, imagenet, lsun, places, textures
from raysyn.data.prepared.kinds import PreparedSet, Use

_CELEBA_DOWNLOAD = (
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: img_align_celeba.zip, list_attr_celeba.txt, "
    "list_eval_partition.txt"
)
_CELEBA_LAYOUT = "img_align_celeba/ (unpacked), list_attr_celeba.txt and list_eval_partition.txt"
_CELEBA_PARTS = {"train": 162_770, "val": 19_867, "test": 19_962}
_CELEBA_SPLITS = {"train": "train", "val": "val", "test": "test"}
_ALL = ("train", "val", "test")

SETS: dict[str, PreparedSet] = {
    "celeba-gender": PreparedSet(
        about="202,599 faces: female, male", download=_CELEBA_DOWNLOAD, licence="non-commercial research only",
        layout=_CELEBA_LAYOUT, parts=_CELEBA_PARTS, splits=_CELEBA_SPLITS, size=64, open=celeba.gender,
        uses=(
            Use(method="dp_imgsyn", presets="paper-celeba_gender-*", train=("train",), size=64),
            Use(method="dp_feta", presets="paper-celeba-*", train=("train", "val"), size=32),
            Use(method="privimage", presets="paper-celeba-*", train=("train", "val"), size=32),
            Use(method="privimage", presets="paper-celeba32-*", train=_ALL, size=32),
            Use(method="privimage", presets="paper-celeba64-*", train=_ALL, size=64),
        ),
    ),
    "celeba": PreparedSet(
        about="202,599 faces, without labels: one class", download=_CELEBA_DOWNLOAD,
        licence="non-commercial research only", layout=_CELEBA_LAYOUT, parts=_CELEBA_PARTS, splits=_CELEBA_SPLITS,
        train=_ALL, size=64, open=celeba.faces,
        uses=(
            Use(method="privimage", presets="paper-celeba64-*", train=_ALL, size=64),
            Use(method="privimage", presets="paper-celeba32-*", train=_ALL, size=32),
        ),
    ),
    "celeba-hair": PreparedSet(
        about="faces with hair of one colour: black, blond, brown", download=_CELEBA_DOWNLOAD,
        licence="non-commercial research only", layout=_CELEBA_LAYOUT, parts=_CELEBA_PARTS, splits=_CELEBA_SPLITS,
        size=64, open=celeba.hair,
        uses=(Use(method="dp_imgsyn", presets="paper-celeba_hair-*", train=("train",), size=64),),
    ),
    "camelyon": PreparedSet(
        about="patches of lymph nodes: normal, tumor",
        download="https://wilds.stanford.edu/datasets: camelyon17_v1.0.tar.gz", licence="public domain (CC0)",
        layout="metadata.csv and patches/, or the folder camelyon17_v1.0/ that holds them",
        parts={"train": 302_436, "id_val": 33_560, "val": 34_904, "test": 85_054},
        # DP-FETA's table I is train, val and test of other hospitals.
        splits={"train": "train", "id_val": None, "val": "val", "test": "test"}, size=32, open=camelyon.camelyon,
        uses=(
            Use(method="dp_feta", presets="paper-camelyon-*", train=("train",), size=32),
            Use(method="privimage", presets="paper-camelyon-*", train=("train",), size=32),
        ),
    ),
    "imagenet32": PreparedSet(
        about="ImageNet in 32 pixels (or in 64, as the batches are): 1,000 classes",
        download="https://image-net.org/download-images (after signing in): Imagenet32_train.zip, Imagenet32_val.zip; "
        "map_clsloc.txt is at https://github.com/PatrykChrabaszcz/Imagenet32_Scripts",
        licence="non-commercial research only",
        layout="train_data_batch_1 to 10 and val_data, pickles or .npz, there or in folders there; and map_clsloc.txt "
        "for the names of classes",
        parts={"train": 1_281_167, "val": 50_000}, splits={"train": "train", "val": "test"}, size=32,
        rescaled=False, open=imagenet.downsampled,
        uses=(
            Use(method="privimage", presets="paper-*", train=("train",), size=32, public=True),
            Use(method="privimage", presets="paper-celeba64-*", train=("train",), size=64, public=True),
        ),
    ),
    "imagenette": PreparedSet(
        about="ten classes of ImageNet", download="https://github.com/fastai/imagenette: imagenette2.tgz",
        licence="as ImageNet: non-commercial research only", layout="train/ and val/, or the folder imagenette2/",
        # Version 2; DP-ImgSyn's table has 10,000 and 5,000, which is no version of it.
        parts={"train": 9_469, "val": 3_925}, splits={"train": "train", "val": "test"}, size=224,
        open=imagenet.imagenette,
        uses=(Use(method="dp_imgsyn", presets="paper-imagenette-*", train=("train",), size=224),),
    ),
    "places365": PreparedSet(
        about="scenes of 365 kinds",
        download="http://places2.csail.mit.edu/download.html: train_256_places365standard.tar, val_256.tar, "
        "filelist_places365-standard.tar", licence="research and education only",
        layout="data_256/, val_256/, places365_train_standard.txt, places365_val.txt, categories_places365.txt",
        # DP-ImgSyn's table says 10,000 test images, which is no part of it.
        parts={"train": 1_803_460, "val": 36_500}, splits={"train": "train", "val": "test"}, size=32,
        open=places.places365,
        uses=(
            Use(method="dp_imgsyn", presets="paper-*mnist-*", train=("train",), size=32, public=True),
            Use(method="dp_imgsyn", presets="paper-celeba_*", train=("train",), size=64, public=True),
        ),
    ),
    "textures": PreparedSet(
        about="Describable Textures (DTD) of 47 kinds",
        download="https://www.robots.ox.ac.uk/~vgg/data/dtd: dtd-r1.0.1.tar.gz", licence="research only",
        layout="images/ and labels/, or the folder dtd/ that holds them",
        parts={"train": 1_880, "val": 1_880, "test": 1_880},
        # All of them are trained on, and a third is tested on as well: so DP-ImgSyn's table counts them.
        splits={"train": "train", "val": "val", "test": "test"}, train=_ALL, size=224, open=textures.textures,
        uses=(Use(method="dp_imgsyn", presets="paper-imagenette-*", train=_ALL, size=224, public=True),),
    ),
    "lsun": PreparedSet(
        about="scenes of ten kinds",
        download="https://github.com/fyu/lsun (its download.py): train and val of all ten scenes",
        licence="none stated; research",
        layout="bedroom_train_lmdb/ and so on, or exported: bedroom_train/ or train/bedroom/",
        # DP-ImgSyn's table says 303,304 test images, which is no part of it.
        parts={"train": 9_895_373, "val": 3_000}, splits={"train": "train", "val": "test"}, size=64, open=lsun.lsun,
        uses=(Use(method="dp_imgsyn", presets="paper-celeba_*", train=("train",), size=64, public=True),),
    ),
    "tinyimagenet": PreparedSet(
        about="200 classes of ImageNet", download="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        licence="as ImageNet: non-commercial research only", layout="train/ and val/, or the folder tiny-imagenet-200/",
        parts={"train": 100_000, "val": 10_000}, splits={"train": "train", "val": "test"}, size=32, open=imagenet.tiny,
        uses=(
            Use(method="dp_imgsyn", presets="paper-*mnist-*", train=("train",), size=32, public=True),
            Use(method="dp_imgsyn", presets="paper-cifar10-*", train=("train",), size=32, public=True),
        ),
    ),
}  # fmt: skip
"""By the word after `raysyn prepare`."""
