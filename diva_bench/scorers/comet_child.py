"""Run COMET in its own interpreter: `python comet_child.py CHECKPOINT BATCH`.

It needs only the standard library and unbabel-comet, because diva-bench is not installed there. stdin: one JSON line
per request, a list of {"src", "mt", "ref"}. stdout: one JSON line per reply: first {"ready": true}, then {"scores":
[...]} in order, or {"error": why}. Output of the libraries goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(checkpoint: str, batch: int) -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        import torch
        from comet import load_from_checkpoint  # type: ignore[import-not-found]

        model = load_from_checkpoint(checkpoint)
    except Exception as err:  # packages do not fit each other, or the encoder's tokenizer is missing
        reply({"error": f"{type(err).__name__}: {err}"})
        return
    reply({"ready": True})
    gpus = 1 if torch.cuda.is_available() else 0
    for line in sys.stdin:
        try:
            prediction = model.predict(json.loads(line), batch_size=batch, gpus=gpus, progress_bar=False)
            reply({"scores": [float(score) for score in prediction["scores"]]})
        except Exception as err:
            reply({"error": f"{type(err).__name__}: {err}"})


if __name__ == "__main__":
    del sys.path[0]  # this folder, whose comet.py is not the library
    main(sys.argv[1], int(sys.argv[2]))
