"""UTF-16 is read, and a text in another encoding is refused with its name and a command that converts it."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from embedctl.errors import DataError
from embedctl.reading.encodings import likely_encoding
from embedctl.reading.files import open_bytes

TEXTS = {
    "GB18030": "为什么天空是蓝色的\n空气散射短波长的光\n",
    "BIG5": "為什麼天空是藍色的\n空氣會散射短波長的光\n",
    "CP932": "空はなぜ青いのですか\nレイリー散乱のためです\n",
    "EUC-JP": "空はなぜ青いのですか\nレイリー散乱のためです\n",
    "CP949": "하늘은 왜 파란색인가\n공기가 짧은 파장의 빛을 산란시키기 때문이다\n",
    "CP1251": "Почему небо голубое\nВоздух рассеивает короткие волны\n",
    "KOI8-R": "Почему небо голубое\nВоздух рассеивает короткие волны\n",
    "CP1252": "Pourquoi le ciel est-il bleu à midi ?\nL’été, la lumière bleue est diffusée.\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_the_likely_encoding_of_a_text(encoding):
    assert likely_encoding(TEXTS[encoding].encode(encoding)) == encoding


def test_german_is_windows_1252():
    assert likely_encoding("Die Größe des Meeres läßt sich schätzen\n".encode("cp1252")) == "CP1252"


@pytest.mark.parametrize("sample", ["是的\n".encode() + b"\xff\n", b"fine\nh\xff\n", "是的是的".encode()[:-1]])
def test_damaged_utf8_has_no_other_encoding(sample):
    assert likely_encoding(sample) is None


@pytest.mark.skipif(shutil.which("iconv") is None, reason="the hint is run with iconv")
@pytest.mark.parametrize("encoding", TEXTS)
def test_the_hint_converts_the_file(tmp_path, encoding):
    path = tmp_path / "a file.jsonl"
    path.write_bytes(b"ascii\n" + TEXTS[encoding].encode(encoding))
    expected = rf"a file\.jsonl:2: line: the text is not valid UTF-8; its encoding is probably {encoding}"
    with pytest.raises(DataError, match=expected) as error:
        open_bytes(str(path))
    command = error.value.hint.split("`")[1]
    assert shlex.quote(str(path)) in command
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "a file.utf8.jsonl").read_text(encoding="utf-8") == "ascii\n" + TEXTS[encoding]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_unicode_encodings_are_read(tmp_path, encoding):
    text = "id,学习 😀\r\n" * 200_000  # several reads
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    with open_bytes(str(path)) as stream:
        assert stream.read().decode("utf-8") == text


def test_a_text_cut_within_a_character_of_utf_16_is_damaged(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\n".encode("utf-16")[:-1])
    with open_bytes(str(path)) as stream, pytest.raises(OSError, match="not valid UTF-16"):
        stream.read()
