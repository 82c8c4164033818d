"""One run of a method in this process, as a job makes it but for its command line."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.torch import load

from raysyn.audits import own_run
from raysyn.audits.own_run import Run
from raysyn.audits.played import Case
from raysyn.compute.doorway import Compute
from raysyn.compute.local import Local
from raysyn.data.images import Images
from raysyn.methods import canaries, network, synthesis
from raysyn.methods.class_shares import known, turns
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.method import Method
from raysyn.privacy.ledger import Ledger, cost_of
from raysyn.report.release import read_images
from raysyn.runs.folder import RunFolder
from raysyn.runs.may_leave import units_of
from raysyn.runs.storage import load_saved
from raysyn.screen.console import Console


def whole_run(
    pipeline: Any, config: Any, out: Path, machines: Any, *, about: Any = "", text: io.StringIO | None = None,
    compute: type[Compute] = Local, test: Images | None = None, tried: int = 0,
) -> Any:  # fmt: skip
    """What `pipeline.run` answers for `config` in `out`. `about` is the run's identity: with another one it is not
    continued; `text` is told what the console shows; `test` are other test images than the data set's; so many units
    are `tried` by a coin."""
    prepared = pipeline.prepare(config)
    dataset, plan = prepared.dataset, prepared.plan
    if test is not None:
        dataset = replace(dataset, test=test)
    config_of = {"as": repr(about), **prepared.facts}
    opened = RunFolder.open(
        out, method=pipeline.METHOD.name, preset="tiny", config=config_of, data_fingerprint=dataset.train.fingerprint()
    )
    with opened as folder, Console(text or io.StringIO()) as console:
        own = canaries.drawn(tried, config, dataset, folder.secret)
        given = dataset if own is None else own.dataset
        parts = (config, given, compute(folder.internal), folder, console, machines, prepared.more)
        if plan is None:
            return pipeline.run(Setting(*parts))
        method = pipeline.METHOD
        known: Any = {"network": method.network, "tried": own, "weights_leave": method.weights_leave(config)}
        return pipeline.run(PrivateSetting(*parts, **known, plan=plan, ledger=Ledger(plan, folder.ledger)))


def attacked(method: Method, config: Any, out: Path) -> list[Case]:
    """What `raysyn audit run` would play of the run in `out`, which is all that it paid for: of its answers, and of no
    image. Each question is asked a few times, and DP-SGD takes a step."""
    rows = [json.loads(line) for line in (out / "internal/ledger.jsonl").read_text().splitlines()]
    plan = {row["stage"]: cost_of(row) for row in rows}
    released = read_images((out / "release/synthetic.parquet").read_bytes())
    signed = json.loads((out / "release/certificate.json").read_text())
    nobody = released.select(slice(0, 0))
    assert method.mechanisms is not None

    def stored(stage: str) -> Any:
        assert stage in plan, f"{stage} is not paid for"
        return load_saved(out / f"internal/stages/{stage}.pt")

    asked = method.mechanisms(config, nobody, stored)
    run = Run(plan=plan, asked=asked, like=nobody, units=units_of(signed["public_facts"]), ranks=2)
    assert run.unknown() == []
    cases = own_run.cases(run, 64, 1, lambda *_: None)
    assert [case.name.partition(":")[0] for case in cases] == list(plan)
    for case in cases:
        played = case.play(1 if "DP-SGD" in case.name else 12, 0)
        assert np.isfinite(played.scores_M).all() and played.noise is not None, case.name
        alone = played.noise.values_GTD[np.broadcast_to(played.noise.alone_GD[:, None], played.noise.values_GTD.shape)]
        assert 0.5 < alone.std() < 2, (case.name, alone.std())
    return cases


def drawn_again(method: Method, config: Any, out: Path) -> dict[str, Any]:
    """What `raysyn draw` would draw first, from nothing but the paid answers, is what the run in `out` has released;
    also from the network that a release may hold, whose tensors are answered."""
    released = read_images((out / "release/synthetic.parquet").read_bytes())
    signed = json.loads((out / "release/certificate.json").read_text())
    n = units_of(signed["public_facts"])
    assert method.drawing is not None and method.network is not None
    nobody = released.select(slice(0, 0))

    def stored(stage: str) -> Any:
        return load_saved(out / f"internal/stages/{stage}.pt")

    kept = network.files(method.network, config, stored, method=method.name, preset="tiny", statement="s", made_by="m")
    asked_N = turns(len(released), released.classes, known(config, released.class_names, stored))
    about, handed_on = network.read(kept[network.WEIGHTS], kept[network.ABOUT])
    assert about["settings"].keys() == set(method.network.settings)
    seed = int(np.random.SeedSequence([config.seed, 0]).generate_state(1)[0])
    for answer in (stored, handed_on):
        drawing = method.drawing(config, nobody, n, answer)
        first = drawing.draw((seed, asked_N[: synthesis.CHUNK].copy()), drawing.shared).numpy()
        np.testing.assert_array_equal(first, released.images_NHWC[: synthesis.CHUNK])
        if drawing.label is not None:
            soft, table = drawing.label(first, drawing.shared).numpy(), pq.read_table(out / "release/synthetic.parquet")
            np.testing.assert_array_equal(soft, np.array(table["soft_label"].to_pylist())[: synthesis.CHUNK])
    np.testing.assert_array_equal(asked_N, released.labels_N)
    tensors = load(kept[network.WEIGHTS])
    network.check_held(method.network, config, signed, tensors)
    return tensors
