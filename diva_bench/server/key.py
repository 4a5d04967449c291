"""The key of a server: from the environment, never from a file, and never written to one."""

from __future__ import annotations

import os

from diva_bench.errors import UserError
from diva_bench.specs import Server


def key_of(server: Server, name: str) -> str | None:
    """The key of a server from the environment; None if it needs none.

    Args:
        name: Of the model, for messages.

    Raises:
        UserError: The variable is not set, or has characters that no header may have.
    """
    if server.key is None:
        return None
    key = os.environ.get(server.key, "").strip()
    if not key:
        raise UserError(
            f"model {name}: its key is expected in the environment variable {server.key}, which is not set. "
            f"Set it in the shell (export {server.key}=...), not in a file of the project."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"the environment variable {server.key} has characters that no key has (spaces, line breaks, accents). Copy "
            "the key again."
        )
    return key
