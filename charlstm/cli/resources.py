"""Whether a run fits into the memory of this machine, and its file on the disk."""

import math
import os
import shutil

from charlstm.config.settings import Config
from charlstm.errors import CharlstmError
from charlstm.network.ranks import Ranks
from charlstm.text.corpus import Dataset
from charlstm.training.advice import memory_bytes, unfinished_file_bytes


def check_resources(config: Config, dataset: Dataset, output: str, ranks: Ranks | None = None) -> None:
    """Reject a run that needs more memory than this machine has, or more disk space than is free.

    Raises:
        CharlstmError: with the numbers.
    """
    memory = _total_memory()
    needed = memory_bytes(config, dataset) if ranks is None else _memory_of_ranks(config, dataset, ranks)
    if memory is not None and needed > memory:
        raise CharlstmError(
            f"not enough memory: training needs about {_size(needed)}, and this machine has {_size(memory)}; "
            "try a smaller --hidden-size, --num-layers, --batch-size or --seq-len"
        )
    directory = os.path.dirname(os.path.realpath(output))
    free = shutil.disk_usage(directory).free
    existing = os.path.getsize(output) if os.path.exists(output) else 0
    needed = 2 * unfinished_file_bytes(config, dataset) - existing  # each save writes a file beside the previous one
    if needed > free:
        raise CharlstmError(
            f"not enough disk space: saving {output} needs about {_size(needed)}, and {directory} has {_size(free)} "
            "free; free some space, choose another --output, or try a smaller --hidden-size"
        )


def _memory_of_ranks(config: Config, dataset: Dataset, ranks: Ranks) -> int:
    """Return the memory that the ranks on this machine need together."""
    cores = min(config.train.threads or ranks.cores, ranks.cores)
    share = config.replace(batch_size=math.ceil(config.train.batch_size / ranks.size), threads=cores)
    return ranks.on_machine * memory_bytes(share, dataset)


def _total_memory() -> int | None:
    """Return the memory of this machine in bytes; None if it is unknown, as on Windows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
