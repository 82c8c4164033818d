"""croissant.json: a release described for machines, as Croissant 1.0 of MLCommons (https://docs.mlcommons.org/croissant).

Made of what the card is made of; it names synthetic.parquet by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raysyn.report.card import IMAGES, Described, maker, origin, unit

CROISSANT = "croissant.json"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""That of the specification."""


def croissant(signed: Mapping[str, Any], told: Described, sha256: str) -> str:
    """croissant.json; `sha256` is the hash of synthetic.parquet."""
    about = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": told.name,
        "description": _description(signed, told),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **({} if told.license is None else {"license": told.license}),
        "keywords": ["synthetic", "image", *(["differential privacy"] if signed["guarantee"] != "none" else [])],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": IMAGES,
                "name": IMAGES,
                "description": "the images with their labels",
                "contentUrl": IMAGES,
                "contentSize": f"{told.size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": sha256,
            }
        ],
        "recordSet": [_classes(told), _images(told)],
    }
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def _description(signed: Mapping[str, Any], told: Described) -> str:
    promise = (
        ""
        if signed["guarantee"] == "none"
        else f" {signed['what_an_attacker_can_do']['sentence']} Unit: {unit(signed)}."
    )
    return (
        f"{signed['statement']}{promise} {told.count:,} synthetic images by {maker(signed)}; certificate.json says "
        f"what is promised and what is not. {origin(signed)}"
    )


def _classes(told: Described) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "names of the class numbers",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/label"},
        "field": [
            {"@type": "cr:Field", "@id": "classes/label", "name": "label", "dataType": "sc:Integer"},
            {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [{"classes/label": at, "classes/name": name} for at, name in enumerate(told.class_names)],
    }


def _images(told: Described) -> dict[str, Any]:
    fields = [_field("image", "sc:ImageObject"), _field("label", "sc:Integer"), _field("split", "sc:Text")]
    fields[1]["references"] = {"field": {"@id": "classes/label"}}
    if told.soft:
        fields.append({**_field("soft_label", "sc:Float"), "repeated": True})
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "an image a row",
        "field": fields,
    }


def _field(column: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{column}",
        "name": column,
        "dataType": kind,
        "source": {"fileObject": {"@id": IMAGES}, "extract": {"column": column}},
    }
