"""Text encodings of input files: UTF-8 and UTF-16 are read; another encoding is refused with its likely name.

To recognise another encoding, add one line in `FREQUENT`.
"""

from __future__ import annotations

import codecs
import io
import re
import shlex
from pathlib import Path
from typing import BinaryIO

from embedctl.errors import DataError

BOM = codecs.BOM_UTF8
# How a text in UTF-16 begins, and its encoding: with a byte order mark, or with two ASCII characters (RFC 4627).
UTF_16 = {
    re.compile(rb"\xff\xfe(?!\0\0)|\xfe\xff"): "utf-16",
    re.compile(rb"[^\0]\0[^\0]\0", re.DOTALL): "utf-16-le",
    re.compile(rb"\0[^\0]\0[^\0]", re.DOTALL): "utf-16-be",
}
KANA = (
    "のにはをたがでてとしれさあいうかくけこすせそちつなねひふまみむめもやゆよらりるろわん"
    "アイオカキクコシジスタッテトドナニフプマムメラリルレロン"
)
CYRILLIC = "оеаинтсрвлкмдпу"
# Encoding (a name that both iconv and Python accept) -> characters that are frequent in texts in it. First those with
# several bytes per character: almost any text of them can also be read in an encoding with one byte per character.
FREQUENT = {
    "GB18030": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作"
    "里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实什日月水问题",
    "BIG5": "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作"
    "裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心本前開但因只從想實什日月水問題",
    "CP932": KANA,
    "EUC-JP": KANA,
    "CP949": "이다는을가에의를은한고하지도로서기사대인리어자일시그나들해과정수부만아보제라스",
}
FREQUENT_SINGLE_BYTE = {"CP1251": CYRILLIC, "KOI8-R": CYRILLIC, "CP1252": "éèàçêâîôùûäöüßñóíáúåøæÉÄÖÜ’‘“”–…°"}
MIN_SHARE = 0.2  # of frequent characters among those outside ASCII, for an encoding to be likely
MIN_CHARACTERS = 3  # outside ASCII: fewer may just as well be damaged


class Utf8Reader(io.RawIOBase):
    """The bytes of a text in another encoding, converted to UTF-8 without a byte order mark."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._encoding, self._converted = stream, encoding, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`. Bytes that are not valid in the encoding raise an OSError."""
        data = b"start"
        while data and not self._converted:
            data = self._stream.read(len(buffer))
            try:
                text = self._decoder.decode(data, not data)
            except UnicodeDecodeError as cause:
                raise OSError(f"it is not valid {self._encoding.upper()}") from cause
            self._converted = text.encode("utf-8", "surrogatepass")
        count = min(len(buffer), len(self._converted))
        buffer[:count], self._converted = self._converted[:count], self._converted[count:]
        return count

    def close(self) -> None:
        """Close the reader and the stream that it converts."""
        super().close()
        self._stream.close()


def utf_16_variant(head: bytes) -> str | None:
    """Return the name of the encoding of a text that begins with `head` if that is UTF-16."""
    return next((encoding for start, encoding in UTF_16.items() if start.match(head)), None)


def check_utf8(path: str, head: bytes, *, complete: bool) -> None:
    """Check that the first bytes of a text are UTF-8, or at least in no other encoding that can be recognised.

    A text in UTF-8 with a few invalid bytes passes: the reader reports them with their lines.

    Raises:
        DataError: the text is in another encoding; the message names it, and the hint converts the file.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, complete)
    except UnicodeDecodeError as cause:
        sample = head if complete else head[: head.rfind(b"\n") + 1] or head
        encoding = likely_encoding(sample)
        if encoding:
            line = head.count(b"\n", 0, cause.start) + 1
            message = f"{path}:{line}: line: the text is not valid UTF-8; its encoding is probably {encoding}"
            raise DataError(message, _conversion_hint(path, encoding)) from None


def likely_encoding(sample: bytes) -> str | None:
    """Return the likely encoding of a text that is not valid UTF-8, or None for damaged UTF-8 and unknown encodings."""
    text = sample.decode("utf-8", "replace")
    invalid = text.count("\ufffd")
    if sum(map(str.isascii, text)) + 2 * invalid < len(text):
        return None  # most characters outside ASCII are valid UTF-8
    for encodings in (FREQUENT, FREQUENT_SINGLE_BYTE):
        share, encoding = max((_frequent_share(sample, *item), item[0]) for item in encodings.items())
        if share >= MIN_SHARE:
            return encoding
    return None


def _frequent_share(sample: bytes, encoding: str, frequent: str) -> float:
    """Return the share of frequent characters among those outside ASCII; 0 if the sample is not in the encoding."""
    try:
        characters = [character for character in sample.decode(encoding) if not character.isascii()]
    except UnicodeDecodeError:
        return 0.0
    if len(characters) < MIN_CHARACTERS:
        return 0.0
    return sum(map(frequent.__contains__, characters)) / len(characters)


def _conversion_hint(path: str, encoding: str) -> str:
    file = Path(path)
    if not file.is_file() or file.suffix.lower() in (".gz", ".bz2", ".xz", ".zst"):
        return f"convert the uncompressed text with `iconv -f {encoding} -t UTF-8`"
    converted = file.with_name(f"{file.stem}.utf8{file.suffix}")
    return f"run `iconv -f {encoding} -t UTF-8 {shlex.quote(path)} > {shlex.quote(str(converted))}` and give that file"
