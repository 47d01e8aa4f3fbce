"""`charlstm export`: a model as a web page, or for PyTorch."""

import os
from pathlib import Path

from charlstm.cli.inputs import QUIET, check_output, load_checkpoint, unescape
from charlstm.cli.output import say
from charlstm.cli.requests import ExportRequest
from charlstm.cli.signals import as_exits
from charlstm.errors import CharlstmError, UsageError
from charlstm.export.page import make_page, rounding_loss
from charlstm.export.tensors import save_tensors
from charlstm.storage.atomic import replace_file
from charlstm.storage.weights import Format


@QUIET
def export_model(request: ExportRequest) -> None:
    """Export a model; report the size of the file, and the loss from rounding."""
    path, output = request.checkpoint, request.output or ""
    weights: Format = "float16" if request.half else "int8"
    with as_exits():
        run = load_checkpoint(path)
        check_output(output, force=request.force)
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
            raise UsageError(f"--output {output} would overwrite the model; choose another file")
        if request.to == "safetensors":
            say(f"Wrote {output} ({save_tensors(run, output) / 1e6:,.1f} MB)")
            return
        title = request.title or Path(path.removeprefix("@")).stem
        page = make_page(run, title, weights, unescape(request.prime)).encode()
        cost = rounding_loss(run.model, weights)
        try:
            with replace_file(output) as file:
                file.write(page)
        except OSError as error:
            raise CharlstmError(f"{output} could not be saved: {error.strerror or error}") from error
    say(
        f"Wrote {output} ({len(page) / 1e6:,.1f} MB). Rounding the weights to {weights} adds {cost:.4f} nats per character to "
        "the loss"
    )
