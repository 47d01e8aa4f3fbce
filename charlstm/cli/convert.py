"""`charlstm convert`: a model with its weights in another format."""

import os
from dataclasses import replace

from charlstm.cli.files import check_output
from charlstm.cli.output import format_size, say
from charlstm.cli.requests import ConvertRequest
from charlstm.cli.signals import as_exits
from charlstm.errors import UsageError
from charlstm.export.tensors import SUFFIX, load_tensors
from charlstm.storage.checkpoint import load_run
from charlstm.storage.lock import locked
from charlstm.storage.weights import Format


def convert_model(request: ConvertRequest) -> None:
    """Write a model with its weights in another format."""
    path, output = request.checkpoint, request.output or ""
    weights: Format = "float16" if request.half else "int8" if request.int8 else "float32"
    if output.endswith(SUFFIX):
        raise UsageError(f"convert writes .npz files; use charlstm export --to safetensors for {output}")
    with as_exits():
        run = load_tensors(path) if path.endswith(SUFFIX) else load_run(path)
        check_output(output, force=request.force)
        if run.training is not None and os.path.exists(output) and os.path.samefile(path, output):
            raise UsageError(
                f"--output {output} is an unfinished run, and overwriting it would lose its training state; choose "
                "another file"
            )
        if run.training is not None:
            say("The run is unfinished: saving its best weights so far, without the state needed to resume")
        with locked(output):
            replace(run, training=None, weights=weights).save(output)
    say(f"Wrote {output} ({weights} weights, {format_size(os.path.getsize(output))})")
