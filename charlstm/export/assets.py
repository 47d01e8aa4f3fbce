"""The files of a page, and their digests for its security policy."""

import base64
import hashlib
from importlib.resources import files


def read_asset(name: str) -> str:
    """Return the text of a file in this package."""
    return (files("charlstm.export") / name).read_text("utf-8")


def digest(text: str) -> str:
    """Return the source expression by which a content security policy allows a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
