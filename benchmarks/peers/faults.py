"""A model that is made to fail: which clips raise, and a log with one line per clip that a model was asked about.

Set by the environment, because each harness starts its model in its own way: PEERS_LOG, a file; PEERS_RAISE, names of
clips, with commas between them; PEERS_CLIPS, the folder of the clips.
"""

from __future__ import annotations

import os
from pathlib import Path

LOG = os.environ.get("PEERS_LOG", "")
RAISE = tuple(name for name in os.environ.get("PEERS_RAISE", "").split(",") if name)
CLIPS = Path(os.environ.get("PEERS_CLIPS", "."))
WANTED = bool(LOG or RAISE)


def note(clips: int) -> None:
    """The model is asked about so many clips now."""
    if LOG:
        with Path(LOG).open("a", encoding="utf-8") as file:
            file.write("asked\n" * clips)
