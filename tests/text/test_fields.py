"""Tables, JSON and exports of posts to the text in a field."""

import csv
import json

import pytest

from charlstm import CharlstmError, UsageError, read_corpus
from charlstm.config.settings import DataConfig
from charlstm.text import fields, json_stream
from charlstm.text.reader import read_pieces
from charlstm.text.stream import End, Findings

POSTS = ["one", 'two "quoted", with a comma', "three\non two lines", "vier: äöü 🙂"]
TWEETS = 'window.YTD.tweets.part0 = [ {"tweet": {"id": "1", "full_text": "one &amp; a = b"}}, {"tweet": {"full_text": "two"}} ]'
OUTBOX = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "orderedItems": [
        {"type": "Create", "object": {"content": "<p>One &amp; <b>a</b></p><p>b<br>c</p>"}},
        {"type": "Announce", "object": "https://example.org/1"},
        {"type": "Create", "object": {"content": "<p>Two</p>"}},
    ],
}


@pytest.fixture
def read(tmp_path):
    """Read a file of some content."""

    def run(name, content, field="text", **reading):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_corpus(path, field=field, **reading).text

    return run


@pytest.fixture
def refuse(read):
    def run(name, content, message, error=CharlstmError, **reading):
        with pytest.raises(error, match=message) as refused:
            read(name, content, **reading)
        assert type(refused.value) is error

    return run


def table(rows, **dialect):
    path = [["id", "text"], *enumerate(rows)]

    class Lines(list[str]):
        write = list.append

    lines = Lines()
    csv.writer(lines, **dialect).writerows(path)
    return "".join(lines)


# ---- tables


def test_column_that_occurs_twice_is_refused(refuse):
    refuse("a.csv", "text,id,text\na,1,b\n", "has 2 fields named 'text'; rename all but one$", UsageError)
    refuse("a.csv", "text,id,text\na,1,b\n", "has the fields text, id; name the one", UsageError, field=None)


def test_spaces_after_all_delimiters_of_the_header_do_not_count(read, refuse):
    assert read("a.csv", 'id, text\n1, "a, b"\n2,  c\n') == "a, b\nc\n"
    assert read("a.csv", "id,text\n1, a\n") == " a\n"
    refuse("a.csv", "id, text,n\n1,a,2\n", "has no field 'text'; it has id, ' text', n", UsageError)


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("a.csv", {}),
        ("a.csv", {"delimiter": ";"}),
        ("a.tsv", {"delimiter": "\t"}),
        ("a.CSV", {"quoting": csv.QUOTE_ALL}),
    ],
)
def test_quotes_and_newlines_in_fields_of_a_table_are_read(name, dialect, read):
    assert read(name, table(POSTS, **dialect)) == "\n".join(POSTS) + "\n"


def test_line_endings_in_fields_become_lf(read):
    assert read("a.csv", 'id,text\r\n1,"one\r\ntwo"\r\n2,three\r\n') == "one\ntwo\nthree\n"


def test_records_that_end_with_a_newline_get_no_second_one_and_empty_ones_none(read):
    assert read("a.csv", 'id,text\n1,"one\n"\n2,\n\n3,three\n') == "one\nthree\n"


def test_table_without_a_field_is_refused_with_its_fields(refuse, read):
    refuse(
        "a.csv",
        "id,text\n1,one\n",
        r"^field: .*a\.csv has the fields id, text; name the one with",
        UsageError,
        field=None,
    )
    refuse(
        "a.csv",
        "id,text\n1,one\n",
        r"has no field 'txt'; it has id, text; did you mean text\?$",
        UsageError,
        field="txt",
    )
    assert read("a.csv", "id,text\n1,one\n", field=None, raw=True) == "id,text\n1,one\n"


@pytest.mark.parametrize(
    ("rows", "line"), [('1,one\n2,"two\n3,three\n', 3), ('1,"a\nb"\n2,"two" more\n', 4), ('1,one\n2,"' + "x" * 300, 3)]
)
def test_quote_that_is_never_closed_is_refused_with_its_line(rows, line, refuse, monkeypatch):
    monkeypatch.setattr(fields, "MAX_RECORD", 200)
    limit = csv.field_size_limit()
    refuse("a.csv", f"id,text\n{rows}", rf"a\.csv: .*line {line}\b")
    assert csv.field_size_limit() == limit


def test_quote_that_swallows_a_large_file_is_refused(refuse, monkeypatch):
    monkeypatch.setattr(fields, "MAX_RECORD", 2000)
    refuse(
        "a.csv",
        'id,text\n1,one\n2,"two\n' + "3,three\n" * 1000,
        "row at line 3 is not valid CSV .*is a closing quote missing",
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,two,more", "has 3 fields, and the header 2; quote any field that contains ','$"),
        ("2", r"has 1 field, and the header 2; is the row truncated\?$"),
    ],
)
def test_row_of_another_length_is_refused_with_its_line(row, message, refuse):
    refuse("a.csv", f"id,text\n1,one\n{row}\n", f"the row at line 3 {message}")


@pytest.mark.parametrize(
    "content", ['[{"text": "a"}', '[{"text": "a"', '[{"text": "a', '[{"text":', "[", '{"text": "a']
)
def test_json_that_is_cut_is_said_to_be(content, refuse):
    refuse("a.json", content, r"a\.json: not valid JSON at line 1 \(.*; is it truncated\?\)$")


def test_fields_of_all_items_are_listed_once(refuse):
    content = '{"data": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]}'
    refuse("a.json", content, "has the fields data.id, data.text; name", UsageError, field=None)


@pytest.mark.parametrize(("content", "field"), [("[1, 2]", None), ('["one"]', "text")])
def test_json_without_objects_is_said_to_have_no_fields(content, field, refuse):
    refuse("a.json", content, "has no fields? ", UsageError, field=field)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "id,text\n"), ("a.json", "[]"), ("a.jsonl", '{"text": ""}\n'), ("tweets.js", "window.YTD")],
)
def test_file_without_records_is_refused(name, content, refuse):
    refuse(name, "", rf"{name} is empty$")
    refuse(name, content, rf"{name} contains no text$")


def test_long_fields_are_read(read):
    assert read("a.csv", f"id,text\n1,{'x' * 200_000}\n") == "x" * 200_000 + "\n"


# ---- JSON


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_lines_of_json_are_read(name, read):
    lines = "".join(f"{json.dumps({'id': 1, 'text': post})}\n" for post in POSTS)
    assert read(name, lines.replace("\n", "\n\n", 1)) == "\n".join(POSTS) + "\n"


def test_surrogate_escapes_are_joined_and_unpaired_ones_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude42"}\n{"text": "cut \\ud83d"}\n')
    corpus = read_corpus(tmp_path / "a.jsonl", field="text")
    assert corpus.text == "🙂\ncut \ufffd\n"
    assert corpus.notes == ("Unpaired surrogates replaced by U+FFFD: 1",)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_array_is_read_one_item_at_a_time(indent, size):
    text = json.dumps([{"text": post, "n": 12.5, "more": [[], {}]} for post in POSTS * 3] + [7], indent=indent)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(fields.read_json(pieces, "a.json", "text", Findings())) == POSTS * 3
    assert list(fields.read_json(pieces, "a.json", "n", Findings())) == ["12.5"] * 12


def test_dotted_names_reach_into_objects_and_arrays(read):
    posts = [{"user": {"name": "Ada"}, "a.b": "dot"}, {"user": {"name": "Bob"}}, {"user": None}, {}]
    assert read("a.json", json.dumps(posts), field="user.name") == "Ada\nBob\n"
    assert read("a.json", json.dumps({"posts": posts}), field="posts.user.name") == "Ada\nBob\n"
    assert read("a.json", json.dumps(posts), field="a.b") == "dot\n"


def test_json_without_a_field_is_refused_with_its_fields(refuse, read):
    post = json.dumps({"id": 1, "user": {"name": "Ada"}, "tags": [{"t": "x"}], "text": "one"})
    for name, content in (("a.jsonl", post), ("a.json", f"[{post}]")):
        refuse(name, content, r"has the fields id, user\.name, tags\.t, text; name the one", UsageError, field=None)
        refuse(name, content, r"has no field 'txt'; it has id, user\.name", UsageError, field="txt")
        refuse(
            name,
            content,
            r"has no field 'user'; it has id, user\.name, .*; did you mean user\.name\?",
            UsageError,
            field="user",
        )
        assert read(name, content, field=None, raw=True) == content


def test_array_of_strings_needs_no_field(read):
    assert read("a.json", '["one", "two\\r\\n"]', field=None) == "one\ntwo\n"


@pytest.mark.parametrize("line", ['{"text": "tw', '{"text": "two"', "two", "[" * 100_000, f'{{"text": {"1" * 5000}}}'])
def test_line_of_json_that_is_cut_is_refused_with_its_number(line, refuse):
    refuse("a.jsonl", f'{{"text": "one"}}\n\n{line}\n', r"a\.jsonl: line 3 is not JSON \(.*\); is it truncated\?$")


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "one"},\n{"te',
        '[{"text": "one"},\n{"text": two}]',
        '[{"text": "one"}\n',
        '[{"text": "one"}\n2]',
        '[\n{"text": ' + "[" * 99_999,
    ],
)
def test_json_that_is_cut_is_refused_with_its_line(text, refuse):
    refuse("a.json", text, r"a\.json: not valid JSON at line 2 \(")


def test_mistake_in_large_json_is_found_without_reading_on(monkeypatch):
    read = []

    def pieces():
        for n in range(100):
            read.append(n)
            yield '[{"text": "one"},\n' if n == 0 else '{"text": one},\n' if n == 5 else '{"text": "one"},\n'

    with pytest.raises(CharlstmError, match="not valid JSON at line 6"):
        list(fields.read_json(pieces(), "a.json", "text", Findings()))
    assert len(read) < 20


def test_json_value_that_is_too_long_is_refused(refuse, monkeypatch):
    monkeypatch.setattr(fields, "MAX_RECORD", 1000)
    monkeypatch.setattr(json_stream, "MAX_RECORD", 1000)
    monkeypatch.setattr("charlstm.text.decoding._CHUNK", 100)
    refuse(
        "a.json",
        json.dumps({"text": ["one"] * 1000}),
        "a value of over 1,000 characters; convert the file to JSON lines",
    )
    refuse("a.jsonl", json.dumps({"text": ["one"] * 1000}), "line 1 has over 1,000 characters")


# ---- exports


@pytest.mark.parametrize("name", ["tweets.js", "tweets-part1.js", "tweet.js"])
def test_posts_of_tweets_js_are_read(name, read):
    assert read(name, TWEETS, field=None) == "one &amp; a = b\ntwo\n"
    assert read(name, TWEETS, field=None, unescape_html=True) == "one & a = b\ntwo\n"
    assert read(name, TWEETS, field="tweet.id") == "1\n"
    assert read(name, TWEETS, field=None, raw=True) == TWEETS
    assert read(name, TWEETS.partition("=")[2], field=None) == "one &amp; a = b\ntwo\n"


def test_posts_of_an_outbox_lose_their_tags(read):
    assert read("outbox.json", json.dumps(OUTBOX), field=None) == "One & a\n\nb\nc\nTwo\n"


def test_other_json_of_the_name_of_an_export_is_refused_with_its_fields(refuse):
    refuse(
        "outbox.json",
        '{"text": "one"}',
        r"has no field 'orderedItems\.object\.content'; it has text$",
        UsageError,
        field=None,
    )


# ---- records


def test_pieces_show_where_records_and_files_end(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,two\n")
    (tmp_path / "b.txt").write_text("three\n")
    pieces = list(read_pieces([str(tmp_path)], DataConfig(field="text"), Findings()))
    assert [(text, end) for text, end in pieces if text or end is not End.NOTHING] == [
        ("one", End.RECORD),
        ("two", End.RECORD),
        ("", End.FILE),
        ("three\n", End.NOTHING),
        ("", End.FILE),
    ]
