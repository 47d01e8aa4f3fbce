"""What suits a text, and what a run has shown."""

from charlstm.checkpoint import Checkpoint

_RISEN = 0.005  # of the best validation loss: what is more than noise
_CLOSE = 0.03  # of the validation loss: a gap that says that the training text is not known any better


def verdict(run: Checkpoint) -> str:
    """Return in words whether a run has learnt or learnt by heart, and what would help; "" where nothing validates."""
    entries = [entry for entry in run.history if entry["val_loss"] is not None and entry["train_loss"] is not None]
    if not entries or run.best is None:
        return ""
    best = min(entries, key=lambda entry: entry["val_loss"])
    last, dropout = entries[-1], run.config.model.dropout
    risen, gap = last["val_loss"] - best["val_loss"], best["val_loss"] - best["train_loss"]
    losses = f"training loss {best['train_loss']:.3f}{' (with dropout)' if dropout else ''}"
    found = (
        f"At the best step, {best['step']:,} of {last['step']:,}: {losses}, validation loss {best['val_loss']:.3f}. "
    )
    if risen > _RISEN * best["val_loss"]:
        stronger = f"more --dropout (it was {dropout:g}), " if dropout < 0.5 else ""
        return (
            f"{found}Since then it has risen by {risen:.3f}: the text is being learnt by heart. "
            f"What would help: {stronger}a smaller model, or less time"
        )
    if gap < _CLOSE * best["val_loss"]:
        return f"{found}The two are close, nothing is learnt by heart. What would help: more time, or a larger model"
    return f"{found}It is still falling. What would help: more text, more time with more --dropout"
