"""What a report says of an attack on classifiers."""

from __future__ import annotations

import pytest

from raysyn.attacks.variants import EVERY, Variant
from raysyn.methods.attack_report import attack_words


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_a_headline_names_its_attack_and_no_shadow_models_where_none_help(variant: Variant) -> None:
    told = attack_words(str(variant), 8)
    kind = variant.flag.partition("-")[0]
    begun = {"rmia": "RMIA with 8 shadow models (o", "loss": "One threshold on the loss (no"}
    assert told.startswith(begun.get(kind, "LiRA with 8 shadow models (o")) and told.endswith("named beforehand)")
