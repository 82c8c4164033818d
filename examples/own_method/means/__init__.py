"""What raysyn's catalogue is told of the method. Imports nothing heavy: every `raysyn --help` reads it."""

from raysyn.methods.catalogue import Entry

ENTRY = Entry(
    name="means",
    summary="Noisy class means, blended at random.",
    guarantee="dp",
    settings="means.method",
    work="means.method",
)
