"""Corpora of all kinds on the command line: the same text whatever holds it, kept settings, mistakes in one line."""

import csv
import gzip
import io
import json
import mailbox
import re
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT, TEXT, error_line

from charlstm import Config, corpus_from_text, load_run, read_corpus
from charlstm.config.settings import config_from_sections

QUICK = ("--hidden-size", 8, "--steps", 3, "--evals", 1, "--threads", 1)
LINES = TEXT.splitlines()
CHAPTERS = {
    "chapter1.txt": ("Le premier café, déjà.\n", "utf-8"),
    "chapter2.txt": ("Voilà l’été, où l’on mange des crêpes.\n", "cp1252"),
    "chapter3.txt": ("À Nîmes, ça commence.\n", "utf-16"),
    "chapter9.md": ("# Élise\n", "utf-8-sig"),
    "chapter10.html": ("<h1>Ça finit</h1>\n<p>&Agrave; bient&ocirc;t.</p>\n", "cp1252"),
}


@pytest.fixture
def forms(tmp_path):
    """The same text in many forms: the arguments that read each."""
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "pieces").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(0, len(LINES), 40):
            piece = "".join(f"{line}\n" for line in LINES[n : n + 40])
            (tmp_path / "pieces" / f"{n}.txt").write_text(piece)
            archive.writestr(f"pieces/{n}.txt", piece)
    table = io.StringIO()
    csv.writer(table).writerows([("id", "text"), *enumerate(LINES)])
    (tmp_path / "a.csv").write_text(table.getvalue())
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps({'text': line})}\n" for line in LINES))
    (tmp_path / "a.json").write_text(json.dumps([{"text": line} for line in LINES]))
    plain = [[name] for name in ("a.txt", "a.txt.gz", "pieces", "pieces/*.txt", "a.zip")]
    return plain + [[name, "--field", "text"] for name in ("a.csv", "a.jsonl", "a.json")]


def test_every_form_of_a_text_gives_the_same_ids(forms, tmp_path):
    for name, *reading in forms:
        corpus = read_corpus(tmp_path / name, field=reading[1] if reading else None)
        assert corpus.fingerprint == corpus_from_text(TEXT).fingerprint, name


def test_every_form_of_a_text_trains_the_same_model(forms, here, tmp_path):
    weights = set()
    for arguments in (forms[0], forms[2], forms[5]):
        assert here("train", *arguments, *QUICK, "--force").returncode == 0
        weights.add(load_run(tmp_path / "model.npz").model.network.params["w_out"].tobytes())
    assert len(weights) == 1


@pytest.fixture
def count(here, model):
    """Return the number of characters that score reads."""

    def run(*arguments, **options):
        values = json.loads(here("score", model, *arguments, "--json", **options).stdout)
        return values["chars"] + values["unknown_chars"] + 1

    return run


def test_records_on_standard_input_are_read(forms, count, tmp_path):
    for name in ("a.csv", "a.jsonl", "a.json"):
        assert count("-", "--field", "text", input=(tmp_path / name).read_text()) == len(TEXT)


def test_directory_of_chapters_in_several_encodings_is_read(tmp_path):
    docx = pytest.importorskip("docx")
    for name, (text, encoding) in CHAPTERS.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
    document = docx.Document()
    document.add_paragraph("Fin. Voilà tout.")
    document.save(tmp_path / "chapter11.docx")
    corpus = read_corpus(tmp_path)
    texts = [text for text, _ in list(CHAPTERS.values())[:4]]
    assert corpus.text == "".join(texts) + "Ça finit\n\nÀ bientôt.\n" + "Fin. Voilà tout.\n"
    assert [note.partition(", for example")[0].partition(":")[0] for note in corpus.notes] == [
        "Decoded as cp1252",
        "Decoded as utf-16-le",
    ]


# ---- exports by other programs


def test_log_of_git_is_read(count):
    log = subprocess.run(["git", "-C", ROOT, "log", "-20"], capture_output=True, encoding="utf-8")
    text = log.stdout or "commit 1\nAuthor: A <a@example.org>\n\n    Read logs\n"  # a checkout may lack its history
    assert count("-", input=text) == len(text)


def test_mailbox_is_read(count, tmp_path):
    box = mailbox.mbox(tmp_path / "mail.mbox")
    for n in range(20):
        message = mailbox.mboxMessage()
        message["Subject"], message["From"] = f"Letter {n}", "a@example.org"
        message.set_payload(f"Dear reader,\nFrom here on, letter {n}.\n")
        box.add(message)
    box.close()
    assert count("mail.mbox") == (tmp_path / "mail.mbox").stat().st_size


def test_html_documentation_is_read(tmp_path):
    subprocess.run([sys.executable, "-m", "pydoc", "-w", "json"], cwd=tmp_path, capture_output=True, check=True)
    text = read_corpus(tmp_path / "json.html").text.replace("\xa0", " ")
    assert "JSON (JavaScript Object Notation) <https://json.org> is a subset of" in " ".join(text.split())
    assert not re.search(r"</?(a|p|tt|td|br|html)\b", text)


# ---- settings that are kept


@pytest.fixture
def posts(tmp_path):
    rows = "".join(f"{n},See https://t.co/{n} &amp; Read {n}\n" for n in range(200))
    (tmp_path / "posts.csv").write_text(f"id,Text\n{rows}")
    return "posts.csv"


CLEANED = "".join(f"see & read {n}\n" for n in range(200))
CHANGES = ("--unescape-html", "--strip-urls", "--lowercase")


def test_resume_and_score_read_a_text_as_training_did(posts, here, tmp_path):
    done = here("train", posts, "--field", "Text", *CHANGES, *QUICK)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "model.npz")
    assert run.fingerprint == corpus_from_text(CLEANED).fingerprint
    assert here("train", posts, "--resume", "--steps", "+2").returncode == 0
    assert json.loads(here("score", posts, "--json").stdout)["unknown_chars"] == 0
    (tmp_path / "other.txt").write_text("SEE https://x.org/ABC &amp; READ 1\n")
    values = json.loads(here("score", "other.txt", "--json").stdout)
    assert (values["chars"], values["unknown_chars"]) == (len("see & read 1\n") - 1, 0)
    assert json.loads(here("score", posts, "--raw", "--json").stdout)["unknown_chars"] > 0
    assert here("sample", "--prime", "SEE &amp; Read", "-n", 3, "--corpus", posts, "--cite").stdout.startswith(
        "see & read"
    )


def test_resume_refuses_another_way_to_read_the_corpus(posts, here):
    assert here("train", posts, "--field", "Text", *QUICK).returncode == 0
    line = error_line(here("train", posts, "--resume", "--lowercase"), 2)
    assert "model.npz was started with lowercase false, not true; " in line
    assert here("train", posts, "--raw", "--force", *QUICK).returncode == 0
    line = error_line(here("train", posts, "--resume", "--no-raw", "--field", "Text"), 2)
    assert "model.npz was started " in line


def test_plan_names_the_flags_to_train_with(posts, here, monkeypatch):
    monkeypatch.setattr("charlstm.cli.plan.measure_speed", lambda *_: 1.0)
    done = here(
        "plan", posts, "--field", "Text", "--lowercase", "--include", "*.csv", "--include", "*.txt", "--steps", 3
    )
    assert done.stdout.endswith("charlstm train posts.csv --field Text --lowercase --include '*.csv,*.txt' --steps 3\n")


def test_settings_of_earlier_versions_are_read_as_they_were_trained():
    sections = Config().replace(encoding="utf-8").sections()
    for name in ("include", "field", "raw", "unescape_html", "strip_urls", "lowercase"):
        del sections["data"][name]
    data = config_from_sections(sections).data
    assert data == Config().replace(encoding="utf-8").data


def test_include_is_kept(here, tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text(TEXT)
    (tmp_path / "book" / "b.txt").write_text("unseen")
    assert here("train", "book", "--include", "*.md", *QUICK).returncode == 0
    assert here("train", "book", "--resume", "--steps", "+1").returncode == 0
    values = json.loads(here("score", "book", "--json").stdout)
    assert (values["chars"], values["unknown_chars"]) == (len(TEXT) - 1, 0)
    assert json.loads(here("score", "book", "--include", "*", "--json").stdout)["unknown_chars"] > 0


# ---- what is said


def test_what_was_found_is_told_unless_quiet(here, tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.cli.plan.measure_speed", lambda *_: 1.0)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.txt").write_bytes(("Un café.\n" * 40).encode("cp1252"))
    (tmp_path / "book" / ".hidden").write_text("hidden")
    notes = "book: read 1 file; skipped 1 file: 1 hidden\nDecoded as cp1252, for example 'café café café café': book/a.txt\n"
    assert here("train", "book", *QUICK).stderr.startswith(notes)
    assert here("plan", "book", "--steps", 1).stderr == notes
    assert here("train", "book", "--force", "--quiet", *QUICK).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["posts.csv"], 2, "--field: posts.csv has the fields id, text; name the one with the text, or use --raw"),
        (["posts.csv", "--field", "txt"], 2, "--field: posts.csv has no field 'txt'; it has "),
        (["posts.csv", "--field", "text", "--raw"], 2, "raw and field are mutually exclusive"),
        (["posts.csv", "--field", ""], 2, "an empty value is not allowed"),
        (["book", "--include", "*.md"], 2, "--include: no file in book matches *.md"),
        (["book/*.md"], 2, "book/*.md: no file matches this pattern"),
        (["bad.zip"], 1, "bad.zip has a member that points outside the archive: ../x"),
        (["bad.docx"], 1, "bad.docx is not a Word document"),
        (["cut.jsonl", "--field", "text"], 1, "cut.jsonl: line 2 is not JSON"),
        (["quote.csv", "--field", "text"], 1, "quote.csv: the row at line 2 is not valid CSV"),
        (["empty"], 1, "empty contains no files"),
        (["book", "--log", "book/log.jsonl"], 2, "--log book/log.jsonl is in book, which is part of the corpus"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(arguments, code, message, here, tmp_path):
    (tmp_path / "posts.csv").write_text("id,text\n1,one\n")
    (tmp_path / "quote.csv").write_text('id,text\n1,"one\n')
    (tmp_path / "cut.jsonl").write_text('{"text": "one"}\n{"text": "tw')
    (tmp_path / "bad.docx").write_text("text")
    for name in ("book", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "book" / "a.txt").write_text(TEXT)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../x", "evil")
    before = sorted(tmp_path.rglob("*"))
    assert message in error_line(here("train", *arguments, *QUICK), code)
    assert sorted(tmp_path.rglob("*")) == before
