"""A web page in one file, with a model that writes in it: HTML, style, script and weights, and nothing from elsewhere.

Whatever the checkpoint holds is data to the page: it is stored as JSON without the characters that end a script, shown
as text only, and the page's security policy lets no script run but its own.
"""

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from charlstm.arrays import Array, Floats
from charlstm.errors import CharlstmError, printable
from charlstm.export.assets import digest, read_asset
from charlstm.network.dispatch import make_stepper
from charlstm.sampling.filters import log_softmax
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import Run
from charlstm.storage.weights import Format, encode_params, round_params

_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_MEASURED_CHARS = 2_000


def make_page(run: Run, title: str, weights: Format = "int8", beginning: str = "") -> str:
    """Return the page of a model as HTML.

    Args:
        run: whose best weights the page uses.
        title: of the page.
        weights: how the page stores them.
        beginning: text that the page opens with.

    Raises:
        UsageError: a weight is too large for float16.
    """
    style, script = (
        read_asset("page.css"),
        read_asset("model.js") + read_asset("page.js").replace('"use strict";\n', "", 1),
    )
    policy = f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; base-uri 'none'"
    values = {
        "policy": policy,
        "title": html.escape(printable(title)),
        "about": html.escape(_describe(run)),
        "beginning": f"\n{html.escape(beginning)}",  # HTML drops the first newline in a <textarea>
        "style": style,
        "script": script,
        "model": json.dumps(_describe_model(run, weights), separators=(",", ":")).translate(_ESCAPED),
    }
    page, (start, *rest) = "", read_asset("page.html").split("{")
    for part in rest:
        name, _, after = part.partition("}")
        page += values[name] + after
    return start + page


def measure_rounding(model: LanguageModel, weights: Format, seed: int = 0) -> float:
    """Return what rounding the weights adds to the loss, in nats per character of a text that the model writes.

    That is the mean divergence of the rounded predictions from the exact ones (Kullback and Leibler, 1951), never
    negative.

    Raises:
        CharlstmError: the predictions are not finite.
    """
    rounded = LanguageModel(model.network.copy(), model.vocab)
    rounded.network.params.update(round_params(model.network.params, weights))
    prefix, other = model.read(), rounded.read()
    exact, close = (make_stepper(each.network, never=model.vocab.unknown_id) for each in (model, rounded))
    logits, state, other_logits, other_state = prefix.logits, prefix.state, other.logits, other.state
    rng, total = np.random.default_rng(seed), 0.0
    for _ in range(_MEASURED_CHARS):
        log_p, log_q = log_softmax(logits)[0], log_softmax(other_logits)[0]
        possible = np.isfinite(log_p)  # all but the unknown character
        if not np.isfinite([log_p.max(), log_q.max()]).all():
            raise CharlstmError("the weights have overflowed; predictions are not finite")
        p = np.exp(log_p)
        total += float(p[possible] @ (log_p[possible] - log_q[possible]))
        ids = rng.choice(len(p), 1, p=p / p.sum())
        (logits, state), (other_logits, other_state) = exact.step(ids, state), close.step(ids, other_state)
    return total / _MEASURED_CHARS


def _describe_model(run: Run, weights: Format) -> dict[str, Any]:
    """Return what the script needs to compute the model, as JSON values."""
    model, vocab, config, data = run.model, run.model.vocab, run.config.model, run.config.data
    return {
        "units": config.hidden_size,
        "layers": config.num_layers,
        "characters": vocab.code_points.tolist(),
        "boundary": vocab.boundary_id,
        "unknown": vocab.unknown_id,
        "counts": vocab.counts.tolist(),
        "lowercase": data.lowercase,  # of what is typed
        "normalize": data.normalize,
        "params": _encode(model.network.params, weights),
    }


def _encode(params: Mapping[str, Floats], weights: Format) -> dict[str, dict[str, Any]]:
    arrays = dict(encode_params(params, weights))
    encoded: dict[str, dict[str, Any]] = {}
    for name, param in params.items():
        array = arrays[name]
        encoded[name] = {"type": array.dtype.name, "shape": param.shape, "data": _base64(array)}
        if f"{name}.scale" in arrays:
            encoded[name]["scale"] = _base64(arrays[f"{name}.scale"])
    return encoded


def _base64(array: Array) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _describe(run: Run) -> str:
    config, loss = run.config.model, run.best_loss
    size = f"{config.num_layers} x {config.hidden_size} LSTM units"
    trained = f"trained on a corpus of {run.fingerprint.chars:,} characters"
    score = "" if loss is None else f" Validation loss: {loss / np.log(2):.2f} bits per character."
    return (
        f"A charlstm model: {size}, {trained}.{score} It runs entirely in this page; nothing you type is sent anywhere."
    )
