"""`charlstm export`: a model as a web page, or for PyTorch."""

from charlstm.cli.files import model_name, open_output
from charlstm.cli.inputs import QUIET, clean_typed, load_checkpoint, unescape
from charlstm.cli.output import format_size, say
from charlstm.cli.requests import ExportRequest
from charlstm.config.settings import DataConfig
from charlstm.errors import UsageError, quote
from charlstm.export.page import make_page, measure_rounding
from charlstm.export.tensors import encode_tensors
from charlstm.storage.weights import Format


@QUIET
def export_model(request: ExportRequest) -> None:
    """Export a model; report the size of the file, and the loss from rounding."""
    weights: Format = "float16" if request.half else "int8"
    run = load_checkpoint(request.checkpoint)
    rounding = ""
    with open_output(request.output or "", force=request.force, inputs=[request.checkpoint]) as file:
        if request.to == "safetensors":
            data = encode_tensors(run)
        else:
            title = request.title or model_name(request.checkpoint)
            prime = _read_prime(request.prime, run.config.data)
            if unknown := sorted(set(prime) - set(run.model.vocab.characters)):
                say(f"The page will skip characters of --prime that the model does not know: {quote(''.join(unknown))}")
            data = make_page(run, title, weights, prime).encode()
            cost = measure_rounding(run.model, weights)
            rounding = f". Rounding the weights to {weights} adds {cost:.4f} nats per character to the loss"
        file.write(data)
    say(f"Wrote {request.output} ({format_size(len(data))}){rounding}")


def _read_prime(prime: str, data: DataConfig) -> str:
    """Return the opening text, changed as the corpus was."""
    try:
        prime.encode()
    except UnicodeEncodeError:
        raise UsageError("not UTF-8", "prime") from None
    return clean_typed(unescape(prime), data)
