"""What --dry-run adds to the plan of DP-MERF and DP-NTK: how long each stage would take here, and how much memory."""

from __future__ import annotations

from functools import partial

from raysyn.data.images import Images
from raysyn.methods import embedded, matching
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.embedded import MeanEmbedding, asked_of, resembling_seconds
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, refuse_too_large
from raysyn.methods.synthesis import CHUNK
from raysyn.screen.console import Console
from raysyn.train.memory import Need


def check_memory(console: Console, config: MeanEmbedding, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: MeanEmbedding, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    image = matching.image_bytes(config.network, shape)
    weights = matching.weight_bytes(config.network, shape)
    return [
        *embedded.needs(asked_of(config), config, shape, private.classes),
        Need("synthesise", weights + CHUNK * image, f"{CHUNK} images at a time"),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: MeanEmbedding, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private, asked = prepared.dataset.train, asked_of(config)
    found = [
        shared.start_up(machines),
        *embedded.stages(asked, config, private),
        *shared.counting(config, private),
        shared.Stage("synthesise", matching.drawing_seconds(config.network, private, config.synthetic)),
    ]
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic, partial(resembling_seconds, asked, private))
    shared.show(console, found, machines, title="Outlook")
    return found
