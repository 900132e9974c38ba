"""Decodes the bytes of an uploaded file: Unicode first, then the Korean legacy code pages, then a guess."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from typing import Final
from unicodedata import category

from charset_normalizer import from_bytes

from infra.documents.korean import COMMON_SYLLABLES
from infra.documents.refusals import refused

_MARKS: Final = (
    # UTF-32's little-endian mark begins with UTF-16's, so the longer one is tried first.
    (BOM_UTF32_LE, "utf-32"),
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
    (BOM_UTF8, "utf-8-sig"),
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]{1,40})""", re.IGNORECASE)
_DECLARED: Final = {
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "cp949": "cp949",
    "iso-2022-kr": "iso2022_kr",
    "shift_jis": "cp932",
    "euc-jp": "euc_jp",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso-8859-1": "cp1252",
    "windows-1252": "cp1252",
}
"""The charsets that an HTML page may declare, and the superset each is read as (WHATWG Encoding Standard, 4.2)."""
_GUESSES: Final = ["johab", "cp932", "euc_jp", "gb18030", "big5", "cp1252", "iso8859_2", "cp1251"]
_SAMPLE: Final = 64 * 1024


def looks_binary(data: bytes) -> bool:
    """Whether the bytes are not text: over 1% control characters in the first 64 KiB."""
    if any(data.startswith(mark) for mark, _ in _MARKS):
        return False
    sample = data[:_SAMPLE]
    return len(_CONTROL.findall(sample)) * 100 > len(sample)


def decode(data: bytes, *, html: bool = False) -> str:
    """The characters of `data`: by its byte order mark, an HTML page's `charset`, UTF-8, CP949, or a guess.

    Raises `DocumentRefused` (`document_undecodable`). CP949 (Microsoft's superset of EUC-KR) comes before the guess
    because it is the usual legacy encoding in Korean archives, and short text tells a guesser little.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            marked = _strictly(data, encoding)
            return _refuse(data) if marked is None else marked
    if (text := _strictly(data, "utf-8")) is not None:
        return text
    declared = _CHARSET.search(data[:4096]) if html else None
    named = _DECLARED.get(declared.group(1).decode("ascii").lower()) if declared else None
    if named is not None and (text := _strictly(data, named)) is not None:
        return text
    if (text := _strictly(data, "cp949")) is not None and _is_korean(text):
        return text
    if _is_damaged_utf8(data):
        return _refuse(data)
    best = from_bytes(data[:_SAMPLE], cp_isolation=_GUESSES).best()
    if best is not None and (text := _strictly(data, best.encoding)) is not None:
        return text
    return _refuse(data)


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether most non-ASCII bytes are valid UTF-8: read as a legacy encoding, they would look like text."""
    beyond_ascii = sum(byte > 127 for byte in data[:_SAMPLE])
    kept = sum(len(c.encode()) for c in data[:_SAMPLE].decode("utf-8", "ignore") if ord(c) > 127)
    return kept >= 0.8 * beyond_ascii


def _is_korean(text: str) -> bool:
    """Whether text that was read as CP949 is Korean; other East Asian code pages are often valid CP949 too.

    Symbols say nothing about the language (ruled lines, ※, ㎡, full-width forms). Of the syllables in Korean text, four
    of five are common ones; of another language's characters misread as syllables, one of ten.
    """
    letters = [c for c in text[:_SAMPLE] if c > "\x7f" and category(c) == "Lo"]
    syllables = [c for c in letters if "가" <= c <= "힣"]
    common = sum(c in COMMON_SYLLABLES for c in syllables)
    if len(syllables) * 2 >= len(letters):
        return common * 4 >= len(syllables)
    # Mixed script: mostly Hanja, with Hangul in between.
    return len(syllables) * 8 >= len(letters) and common * 2 >= len(syllables)


def _refuse(data: bytes) -> str:
    try:
        data.decode("utf-8")
        place = ""
    except UnicodeDecodeError as error:
        place = f"; as UTF-8 it breaks at byte {error.start}"
    raise refused("document_undecodable", f"the file's character encoding could not be read{place}")
