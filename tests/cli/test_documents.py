"""Documents on the command line: train, sample, score, play, info and plan."""

import json

import pytest
from helpers import SMALL, TEXT, train_fully

from charlstm import corpus_from_text, load_run

POSTS = [f"the {n % 7} cats" if n % 2 else "no dogs" for n in range(400)]
SEPARATORS = {"line": "\n", "blank-line": "\n\n"}
FLAGS = ("--steps", 150, "--hidden-size", 24, "--batch-size", 4, "--seq-len", 10, "--learning-rate", 0.02)


def is_whole(text: str) -> bool:
    return text == "no dogs" or (text.startswith("the ") and text.endswith(" cats"))


@pytest.fixture(scope="module")
def models():
    runs = {}
    for documents, separator in SEPARATORS.items():
        config = SMALL.replace(hidden_size=24, steps=150, documents=documents, learning_rate=0.02, eval_chars=100)
        text = separator.join(post.replace(" ", "\n", 1) if documents == "blank-line" else post for post in POSTS)
        runs[documents] = train_fully(config, corpus_from_text(text, documents))[0]
    return runs


@pytest.fixture
def posts(models, tmp_path):
    models["line"].save(tmp_path / "model.npz")
    (tmp_path / "posts.txt").write_text("".join(f"{post}\n" for post in POSTS), encoding="utf-8")
    return tmp_path


def test_train_describes_documents_and_copies(posts, here):
    done = here("train", "posts.txt", "--documents", "line", *FLAGS, "-o", "new.npz")
    assert done.returncode == 0, done.stderr
    assert " in 372 documents, " in done.stderr
    assert (
        "The corpus has 392 copies of earlier documents, such as 'no dogs'; --deduplicate drops copies" in done.stderr
    )
    assert "charlstm sample --ckpt new.npz --num 20" in done.stderr
    assert load_run(posts / "new.npz").config.data.documents == "line"


def test_deduplicate_is_a_flag_and_needs_documents(posts, here):
    done = here("train", "posts.txt", "--documents", "line", "--deduplicate", *FLAGS, "-o", "new.npz")
    assert done.returncode == 0, done.stderr
    assert "Dropped 392 copies of earlier documents, such as 'no dogs'" in done.stderr
    done = here("train", "posts.txt", "--deduplicate", *FLAGS, "-o", "other.npz")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: --deduplicate: needs separate documents; set documents to line, ")


def test_resume_keeps_the_documents(posts, here):
    assert here("train", "posts.txt", "--documents", "line", *FLAGS, "-q", "-o", "new.npz").returncode == 0
    done = here("train", "posts.txt", "--resume", "--steps", "+10", "-o", "new.npz")
    assert done.returncode == 0, done.stderr
    done = here("train", "posts.txt", "--resume", "--documents", "file", "--steps", "+10", "-o", "new.npz")
    assert done.stderr.startswith("Error: --resume: new.npz was started with documents line, not file")


def test_corpus_of_one_document_is_said_to_be_one(posts, here):
    done = here("train", "posts.txt", "--documents", "file", *FLAGS, "-o", "new.npz")
    assert "The corpus has a single document, so none can be held out for validation; the final weights" in done.stderr


def test_plain_text_has_no_rows(posts, here):
    done = here("train", "posts.txt", "--documents", "row", "-o", "new.npz")
    line = "Error: --documents: posts.txt has no rows; choose line, blank-line or file\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_sample_writes_whole_posts_one_per_line(posts, here):
    done = here("sample", "model.npz", "--num", 20, "--seed", 1)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 20)
    assert sum(map(is_whole, lines)) >= 18


def test_single_document_ends_its_line(posts, here):
    assert here("sample", "model.npz", "--seed", 1, "--prime", "no").stdout == "no dogs\n"


def test_documents_of_several_lines_are_separated_by_blank_lines(models, tmp_path, here):
    models["blank-line"].save(tmp_path / "model.npz")
    done = here("sample", "--num", 5, "--seed", 1)
    documents = done.stdout.removesuffix("\n").split("\n\n")
    assert (done.returncode, len(documents)) == (0, 5)
    assert done.stdout.count("\n") >= 12
    assert here("sample", "--num", 5, "--seed", 1, "--separator", "#").stdout == "#".join(documents) + "\n"


def test_max_chars_needs_no_stop_string(posts, here):
    lines = here("sample", "--num", 9, "--seed", 1, "--max-chars", 8).stdout.splitlines()
    assert len(lines) == 9
    assert max(map(len, lines)) <= 8
    assert lines.count("no dogs") >= 7


def test_document_of_exactly_max_chars_fits(posts, here):
    done = here("sample", "--num", 9, "--seed", 1, "--prime", "no d", "--max-chars", len("no dogs"))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) == {"no dogs"}


def test_pattern_with_max_chars_needs_an_end(posts, here):
    done = here("sample", "--pattern", "[a-z ]+", "--max-chars", 9)
    assert done.stderr == "Error: --max-chars needs --stop or --lines, or omit --pattern\n"


def test_length_cuts_a_document_short(posts, here):
    done = here("sample", "--seed", 1, "-n", 3)
    assert (len(done.stdout), done.stderr) == (4, "")


def test_json_gives_documents(posts, here):
    values = json.loads(here("sample", "--seed", 1, "--prime", "no", "--json", "--probs").stdout)
    assert (values["text"], values["chars"]) == (" dogs", 6)
    assert [each["char"] for each in values["probs"]] == [*" dogs", ""]


def test_cite_names_the_document(posts, here):
    done = here("sample", "--seed", 1, "--prime", "no", "--cite", "--corpus", "posts.txt")
    assert "longest substring shared with the corpus: length 5, corpus document 1: ' dogs'" in done.stderr


def test_score_by_document_uses_the_boundaries(posts, here):
    (posts / "other.txt").write_text("no dogs\nthe 3 cats\n", encoding="utf-8")
    done = here("score", "model.npz", "other.txt", "--by", "document", "--baselines", "posts.txt")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "over 19 characters; document ends included: 2"
    assert [line.split(maxsplit=2)[1:] for line in lines[-2:]] == [["8", "1: no dogs\\n"], ["11", "2: the 3 cats\\n"]]
    values = json.loads(here("score", "model.npz", "other.txt", "--by", "document", "--json").stdout)
    assert [part["document"] for part in values["parts"]] == [1, 2]


def test_turn_ends_with_the_document_and_the_next_begins_one(posts, here):
    done = here("play", "model.npz", "--seed", 1, input="no\nno\n:story\n:undo\n:story\n")
    assert done.stdout == " dogs\n dogs\nno dogs\nno dogs\n\nno dogs\n\n"
    assert done.stderr.count("the document ends here; what follows begins a new one") == 2


def test_info_shows_boundary_and_documents(posts, here):
    done = here("info", "model.npz")
    assert "characters and a document boundary: " in done.stdout
    assert " characters in 400 documents, SHA-256 " in done.stdout
    assert json.loads(here("info", "model.npz", "--json").stdout)["documents"] == 400


def test_plan_suggests_lines_that_look_like_posts(tmp_path, here, monkeypatch):
    monkeypatch.setattr("charlstm.cli.plan.measure_speed", lambda *_: 1e5)
    (tmp_path / "posts.txt").write_text(
        "".join(f"today I have seen {n * n} birds{' and a cat on the roof' * (n % 4)}\n" for n in range(200))
    )
    done = here("plan", "posts.txt", "--steps", 10)
    assert "suggestion  The corpus has 200 lines that look like separate posts; try --documents line\n" in done.stdout
    posts = (tmp_path / "posts.txt").read_text().splitlines()
    (tmp_path / "posts.jsonl").write_text("".join(f"{json.dumps({'text': post})}\n" for post in posts))
    done = here("plan", "posts.jsonl", "--field", "text", "--steps", 10)
    assert "lines that look like separate posts; try --documents row\n" in done.stdout
    done = here("plan", "posts.txt", "--documents", "line", "--deduplicate", "--steps", 10)
    assert "try --documents" not in done.stdout
    assert "documents   200, including 0 copies of earlier ones\n" in done.stdout
    assert "charlstm train posts.txt --documents line --deduplicate --steps 10\n" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        TEXT,  # short lines
        "".join(f"{'word ' * (15 - n % 3)}\n" for n in range(300)),  # wrapped prose
        "".join(f"a paragraph of a text, number {n}, {'and more ' * (n % 9)}\n\n" for n in range(300)),
        "one long line " * 1000,
    ],
    ids=["short lines", "wrapped", "paragraphs", "one line"],
)
def test_plan_suggests_no_documents_for_other_texts(text):
    from charlstm.training.advice import suggest_documents

    assert suggest_documents(corpus_from_text(text)) == []
