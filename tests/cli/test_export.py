"""`charlstm export`: the page that it writes, and invalid requests."""

import dataclasses
import os
import re
import subprocess

import pytest
from helpers import SMALL, error_line, train_fully
from storage_helpers import train_until

from charlstm import Run


@pytest.fixture
def models(tmp_path, trained: Run):
    trained.save(tmp_path / "model.npz")
    return tmp_path


def test_command_reports_size_and_cost(models, here):
    done = here("export", "model.npz", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Wrote page\.html \(\d+ kB\)\. Rounding the weights to int8 adds 0\.00\d\d nats", done.stderr)
    assert "<title>model</title>" in (models / "page.html").read_text(encoding="utf-8")


def test_title_and_prime_appear_in_the_page(models, here):
    assert here("export", "-o", "page.html", "--title", "A & B", "--prime", "1\\n2", "--half").returncode == 0
    page = (models / "page.html").read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert ">\n1\n2</textarea>" in page
    assert '"type":"float16"' in page


def test_unknown_characters_of_the_prime_are_reported(models, here):
    done = here("export", "-o", "snow.html", "--prime", "1☃2")
    assert "The page will skip characters of --prime that the model does not know: '☃'\n" in done.stderr


def test_prime_is_changed_as_the_corpus_was(tmp_path, here):
    run, _ = train_fully(SMALL.replace(steps=2, lowercase=True))
    run.save(tmp_path / "model.npz")
    assert here("export", "-o", "page.html", "--prime", "TIMES").returncode == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "\ntimes</textarea>" in page
    assert '"lowercase":true,"normalize":"none"' in page


def test_page_can_be_written_to_standard_output_and_to_a_pipe(models, here):
    assert here("export", "-o", "-").stdout.startswith("<!DOCTYPE html>")
    os.mkfifo(models / "pipe")
    reader = subprocess.Popen(["cat", "pipe"], cwd=models, stdout=subprocess.PIPE)
    assert here("export", "-o", "pipe").returncode == 0
    assert reader.communicate(timeout=60)[0].startswith(b"<!DOCTYPE html>")
    assert (models / "pipe").is_fifo()


def test_unfinished_run_can_be_exported(models, here):
    train_until(12).save(models / "half.npz")
    assert here("export", "half.npz", "-o", "page.html").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "export needs --output, the file to write, such as model.html"),
        (("-o", "taken.html"), 2, "taken.html already exists; use --force to overwrite it"),
        (("-o", "model.npz", "--force"), 2, "--output model.npz would overwrite model.npz; choose another file"),
        (("-o", "."), 2, "--output . is a directory; name a file in it"),
        (("-o", "none/page.html"), 2, "--output none/page.html: directory "),
        (("--prime", "\udcff", "-o", "page.html"), 2, "--prime: not UTF-8"),
        (("none.npz", "-o", "page.html"), 2, "none.npz: No such file or directory"),
        (("text.txt", "-o", "page.html"), 2, "export takes a model file (.npz), not text.txt"),
    ],
)
def test_invalid_exports_are_refused(arguments, code, message, models, here):
    (models / "taken.html").touch()
    before = {path: path.read_bytes() for path in models.iterdir()}
    assert message in error_line(here("export", *arguments), code)
    assert {path: path.read_bytes() for path in models.iterdir()} == before


def test_weights_that_are_not_finite_are_reported(models, trained, here):
    model = trained.model.copy()
    model.network.params["w_out"][:] = 3e38
    dataclasses.replace(trained, model=model).save(models / "model.npz")
    assert "overflowed" in error_line(here("export", "-o", "page.html"), 1)


def test_safetensors_converts_back_to_the_same_model(models, here):
    assert here("export", "--to", "safetensors", "-o", "m.safetensors").returncode == 0
    done = here("convert", "m.safetensors", "-o", "again.npz")
    assert done.returncode == 0, done.stderr
    assert (models / "again.npz").read_bytes() == (models / "model.npz").read_bytes()
    flagged = here("export", "--to", "safetensors", "-o", "n.safetensors", "--title", "A", "--half")
    assert "--half needs --to html" in error_line(flagged, 2)
