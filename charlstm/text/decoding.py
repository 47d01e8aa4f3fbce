"""From the bytes of a file to its text, in an encoding that is given or found."""

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from charlstm.config.kinds import AUTO
from charlstm.errors import CharlstmError
from charlstm.text.stream import Findings
from charlstm.text.vocab import code_points

_CHUNK = 1 << 20  # bytes read at a time
_SIGNATURES = {
    b"\x1f\x8b\x08": "gzip data; add the extension .gz, or decompress it first",
    b"BZh": "bzip2 data; add the extension .bz2, or decompress it first",
    b"\xfd7zXZ": "xz data; add the extension .xz, or decompress it first",
    b"\x28\xb5\x2f\xfd": "Zstandard data; add the extension .zst, or decompress it first",
    b"PK\x03\x04": "a zip archive or an office document; add the extension .zip or .docx, or extract the text first",
    b"\x7fELF": "an executable (ELF), not text",
    b"%PDF": "a PDF; convert it to text first",
    b"\x89PNG": "a PNG image, not text",
}
_MARKS = {  # byte-order marks; those of UTF-32 first, since one of UTF-16 is the start of one of them
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"\xef\xbb\xbf": "utf-8",
}
_ZEROS = {  # which bytes of every four are NUL in text that is mostly Latin (UTF-16), or any text (UTF-32)
    "utf-32-le": (2, 3),
    "utf-32-be": (0, 1),
    "utf-16-le": (1, 3),
    "utf-16-be": (0, 2),
}
_HEAD = 1024  # bytes in which NULs are counted
_MIN_HEAD = 64
_MOSTLY, _HARDLY = 0.5, 0.1  # fractions of NULs
_CONTROLS = np.array([(k < 0x20 and k not in b"\t\n\v\f\r\x1b") or k >= 0x7F for k in range(0xA0)])  # C0, DEL, C1
_C1_TO_SPACE = dict.fromkeys(range(0x7F, 0xA0), " ")  # where other encodings have letters
_MAX_CONTROLS = 0.05  # fraction of a text
_FEW_CONTROLS = 8  # that any text may have
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp437", "cp850")  # encodings to detect
_ANY = (  # the same with those of other scripts, but without rare ones that fit almost any bytes
    *(*_LATIN, "cp1251", "cp1253", "cp1255", "cp1256", "cp874", "koi8_r", "cp866"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
_MAX_ACCENTS = 0.3  # fraction of bytes beyond ASCII in a text of Latin letters
_SAMPLE = 1 << 15  # bytes to detect an encoding from
_HIGH = bytes(range(0x80, 0x100))
_MESS, _COHERENCE = 0.07, 0.05  # differences between scores that mean nothing
_CONTRACTION = re.compile(rb"n\x92t\b|\bI\x92(?:d|ll|m|ve)\b", re.IGNORECASE)  # in English, as cp1252
_DECLARED = re.compile(rb"""<(?:meta\b|\?xml\b)[^>]*?\b(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_SUPERSETS = {  # what browsers use for what pages declare
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}


def decode(file: BinaryIO, name: str, encoding: str, findings: Findings) -> Iterator[str]:
    """Yield the text of a file, without its byte-order mark, and with LF line endings.

    Args:
        file: read to its end, a chunk at a time.
        name: of the file, for messages.
        findings: gets the line endings and the encoding.
        encoding: `auto` stands for that of the byte-order mark; else UTF-8, if the file is valid UTF-8; else the one
            that charset-normalizer detects, if it is installed.

    Raises:
        CharlstmError: it is not text in that encoding; names the byte and the line.
    """
    data = file.read(_CHUNK)
    marked, auto, previous = _find_mark(data), encoding == AUTO, b""
    encoding = (marked or "utf-8") if auto else codecs.lookup(encoding).name.removesuffix("-sig")
    _reject_other_formats(data, name, encoding)
    if auto and encoding != "utf-8":
        findings.detected.setdefault(encoding, []).append(name)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, lines, first, ascii_only = 0, 1, True, True
    while True:
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            can_detect = auto and not marked and ascii_only
            found = _detect(previous, pending + data, findings) if can_detect else None
            if found is None:
                raise _undecodable(name, encoding, error, pending, data, offset, lines, auto) from None
            data, offset, encoding, auto = pending + data, offset - len(pending), found, False
            decoder = codecs.getincrementaldecoder(encoding)("strict")
            findings.detected.setdefault(encoding, []).append(name)
            continue
        if first:
            _reject_binary(text, name)
            text = text.removeprefix("\ufeff")
        first, ascii_only = first and not text, ascii_only and text.isascii()
        offset, lines, previous = offset + len(data), lines + text.count("\n"), data
        yield newlines.decode(text, final=not data)
        if not data:
            break
        data = file.read(_CHUNK)
    kinds = newlines.newlines or ()
    findings.line_endings.update([kinds] if isinstance(kinds, str) else kinds)


def is_binary(head: bytes) -> bool:
    """Return whether a file is not text, judging by its first bytes."""
    if any(head.startswith(magic) for magic in _SIGNATURES):
        return True
    if _find_mark(head) or _find_zeros(head[:_HEAD]):
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return b"\0" in head or _has_many_controls(head.decode("latin-1").translate(_C1_TO_SPACE))
    return _has_many_controls(text)


def _undecodable(
    name: str, encoding: str, error: UnicodeError, pending: bytes, data: bytes, offset: int, lines: int, auto: bool
) -> CharlstmError:
    """Return the error for bytes that are not valid in an encoding."""
    if "BOM" in str(error):
        return CharlstmError(
            f"{name}: not {encoding}: it has no byte-order mark; without one, use {encoding}-le or {encoding}-be"
        )
    before = (pending + data)[: getattr(error, "start", 0)]
    line = lines + _count_newlines(before, encoding)
    at = f"at byte {offset - len(pending) + len(before)}, line {line}"
    others = "cp1252 (Western European), cp1251 (Cyrillic), gb18030 (Chinese) or shift_jis (Japanese)"
    hint = "is this a text file?" if b"\0" in data else f"try another encoding, such as {others}"
    if auto and b"\0" not in data and not _has_detector():
        hint += ", or install charlstm[encodings] to have it detected"
    return CharlstmError(f"{name}: not {encoding}: {getattr(error, 'reason', error)} {at}; {hint}")


def _count_newlines(data: bytes, encoding: str) -> int:
    try:
        return data.decode(encoding, "ignore").count("\n")
    except UnicodeError:  # a codec without error handlers, such as idna
        return data.count(b"\n")


# ---- detection


def _find_mark(data: bytes) -> str | None:
    """Return the encoding of a byte-order mark."""
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)


def _has_detector() -> bool:
    try:
        import charset_normalizer  # noqa: F401
    except ImportError:
        return False
    return True


def _detect(previous: bytes, data: bytes, findings: Findings) -> str | None:
    """Return the encoding of bytes that are not UTF-8, and keep an example; None if it is not clear.

    HTML and XML may declare it. The detector takes short texts for any script, and Western for Central European: only
    Latin encodings are candidates where most bytes are ASCII, and cp1252 wins where its score equals the best.
    """
    if b"\0" in data or _is_damaged_utf8(data):
        return None
    if declared := _find_declared(previous or data, data):
        return declared
    if _CONTRACTION.search(data):
        return _keep_example(_LATIN[0], data, findings)
    if not _has_detector():
        return None
    from charset_normalizer import from_bytes

    sample = _cut(b"".join(line for line in data.splitlines(keepends=True) if not line.isascii()), _SAMPLE)
    context = _cut(previous or data, _HEAD)  # which may have a declaration of the encoding
    letters = [byte for byte in sample if byte >= 0x80 or chr(byte).isalpha()]
    is_latin = sum(byte >= 0x80 for byte in letters) <= _MAX_ACCENTS * len(letters)
    names = list(_LATIN if is_latin else _ANY)
    matches = list(from_bytes(context + sample, cp_isolation=names, enable_fallback=False))
    if not matches:
        return None
    best = matches[0]
    close = [
        name
        for match in matches
        if match.chaos <= best.chaos + _MESS and match.coherence >= best.coherence - _COHERENCE
        for name in match.could_be_from_charset
    ]
    return _keep_example(codecs.lookup(_LATIN[0] if _LATIN[0] in close else best.encoding).name, sample, findings)


def _find_declared(head: bytes, data: bytes) -> str | None:
    """Return the encoding that the start of a file declares, if it exists and the data is valid in it."""
    declared = _DECLARED.search(head[:_HEAD])
    if not declared:
        return None
    try:
        name = codecs.lookup(declared[1].decode("ascii")).name
        name = codecs.lookup(_SUPERSETS.get(name, name)).name
        "".encode(name)  # refuses the codecs that are not text, such as hex
        codecs.getincrementaldecoder(name)("strict").decode(data)  # the last character may be cut
    except (LookupError, UnicodeError):
        return None
    return None if name.startswith("utf") else name  # the declaration is legible, so it is not UTF-16


def _keep_example(encoding: str, sample: bytes, findings: Findings) -> str:
    """Return an encoding, after keeping words with letters beyond ASCII as an example of it."""
    words = re.findall(r"\w*[^\W\x00-\x7f]\w*", sample[:_SAMPLE].decode(encoding, "replace"))
    findings.examples.setdefault(encoding, " ".join(words[:4]))
    return encoding


def _cut(data: bytes, size: int) -> bytes:
    """Return the start of some bytes, without a character that is cut."""
    return data if len(data) <= size else data[:size].rstrip(_HIGH)


def _is_damaged_utf8(data: bytes) -> bool:
    """Return whether most bytes beyond ASCII are valid UTF-8, so that the others are damage, not another encoding."""
    text = data.decode("utf-8", "replace")
    invalid = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return beyond_ascii - invalid > invalid


# ---- bytes that are no text


def _reject_other_formats(data: bytes, name: str, encoding: str) -> None:
    """Reject a file whose first bytes contradict the encoding."""
    for magic, look in _SIGNATURES.items():
        if data.startswith(magic):
            raise CharlstmError(f"{name} looks like {look}")
    marked = _find_mark(data) or encoding
    if not marked.startswith(encoding):
        family = marked.removesuffix("-le").removesuffix("-be")
        raise CharlstmError(
            f"{name} looks like {family.upper()}, not {encoding}; set the encoding to {family}, or convert the file"
        )
    unmarked = _find_zeros(data[:_HEAD]) or encoding
    if not unmarked.startswith(encoding):
        raise CharlstmError(
            f"{name} looks like {unmarked[:6].upper()} without a byte-order mark, not {encoding}; "
            f"set the encoding to {unmarked}, or convert the file"
        )


def _find_zeros(head: bytes) -> str | None:
    """Return the encoding that the NULs among some bytes point to."""
    if len(head) < _MIN_HEAD:
        return None
    zeros = [head[k::4].count(0) / len(head[k::4]) for k in range(4)]
    for name, places in _ZEROS.items():
        others = [zeros[k] for k in range(4) if k not in places]
        if min(zeros[k] for k in places) >= _MOSTLY and min(others) < _HARDLY:
            return name
    return None


def _reject_binary(text: str, name: str) -> None:
    """Reject a file of whose characters many are control characters."""
    if _has_many_controls(text):
        raise CharlstmError(
            f"{name} looks like binary data: {_count_controls(text) / len(text):.0%} of its characters are control "
            "characters; give a text file, or set its encoding"
        )


def _has_many_controls(text: str) -> bool:
    return _count_controls(text) > max(_MAX_CONTROLS * len(text), _FEW_CONTROLS)


def _count_controls(text: str) -> int:
    points = code_points(text)
    return int(np.count_nonzero(_CONTROLS[points[points < len(_CONTROLS)]]))
