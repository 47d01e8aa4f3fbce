"""`charlstm train --init-from`: what is said, what is refused, and what the file records."""

import json

import pytest
from helpers import TEXT, error_line

from charlstm import load_run

FLAGS = ("--steps", 30, "--evals", 2, "--threads", 1, "--batch-size", 4)
NEW = TEXT.replace("times", "mal") + "ß" * 20


@pytest.fixture
def texts(tmp_path, model):
    (tmp_path / "new.txt").write_text(NEW, encoding="utf-8")
    (tmp_path / "base.npz").write_bytes(model.read_bytes())
    return tmp_path


def test_run_says_what_it_takes_over_and_info_shows_the_base(texts, here):
    done = here("train", "new.txt", "--init-from", "base.npz", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert "Starting from base.npz, which has 16 of the corpus's 19 characters; new: 'alß'; dropped: 2" in done.stderr
    base = load_run(texts / "model.npz").base
    assert base is not None
    assert base.name == "base.npz"
    shown = here("info", "model.npz").stdout
    assert f"started     from base.npz, SHA-256 {base.sha256[:16]}..." in shown
    assert json.loads(here("info", "model.npz", "--json").stdout)["base"] == {"name": "base.npz", "sha256": base.sha256}
    assert "started " not in here("info", "base.npz").stdout


def test_documents_of_a_model_without_them_are_explained(texts, here):
    done = here("train", "new.txt", "--init-from", "base.npz", *FLAGS, "--documents", "line")
    assert "it was trained without --documents, so the document boundary is new" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--init-from", "missing.npz"), 2, "missing.npz: No such file or directory"),
        (("--init-from", "new.txt"), 1, "new.txt is not a charlstm checkpoint, or is damaged"),
        (
            ("--init-from", "base.npz", "--hidden-size", 13),
            2,
            "--hidden-size: the model to start from has 12 units per layer",
        ),
        (("--init-from", "base.npz", "--num-layers", 2), 2, "--num-layers: the model to start from has 1 layer"),
        (
            ("--init-from", "base.npz", "-c", "tweets"),
            2,
            "--hidden-size: the model to start from has 12 units per layer",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused(arguments, code, message, texts, here):
    line = error_line(here("train", "new.txt", *FLAGS, *arguments), code)
    assert message in line
    assert not (texts / "model.npz").exists()


def test_resume_goes_without_it(texts, here):
    assert here("train", "new.txt", "--init-from", "base.npz", *FLAGS).returncode == 0
    done = here("train", "new.txt", "--init-from", "base.npz", "--resume", "--steps", "+5")
    assert "--init-from starts a new run; omit it to resume one" in error_line(done, 2)
    assert here("train", "new.txt", "--resume", "--steps", "+5").returncode == 0
    assert load_run(texts / "model.npz").base is not None


def test_output_may_replace_the_base(texts, here):
    assert here("train", "new.txt", "--init-from", "base.npz", "-o", "base.npz", "--force", *FLAGS).returncode == 0
    assert load_run(texts / "base.npz").base is not None
