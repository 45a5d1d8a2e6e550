"""BERT's tokenizer (Devlin et al. 2019, uncased): words cut into the longest pieces of a vocabulary."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from ..files.json_files import json_content

MAX_WORD_LETTERS = 100  # longer words are unknown
# Blocks of Chinese characters, each of which is a word.
IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """Numbers of a text's pieces, as Hugging Face's tokenizers gives them for a BertModel's tokenizer.json;
    names of special tokens, as [MASK], are words here."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """path: a tokenizer.json; max_tokens: at which a text is cut, [CLS] and [SEP] included."""
        model = json_content(path)["model"]
        self.vocabulary: dict[str, int] = model["vocab"]
        self.prefix: str = model["continuing_subword_prefix"]
        self.first, self.last, self.unknown = (
            self.vocabulary[name] for name in ("[CLS]", "[SEP]", "[UNK]")
        )
        self.max_tokens = max_tokens

    def __call__(self, text: str) -> list[int]:
        """The numbers of [CLS], the text's pieces and [SEP]."""
        numbers = [number for word in words_of(text) for number in self.pieces(word)]
        return [self.first, *numbers[: self.max_tokens - 2], self.last]

    def pieces(self, word: str) -> list[int]:
        """The pieces of a word: its longest prefix in the vocabulary, the longest prefix of what remains, and
        so on; unknown if some rest has none."""
        if len(word) > MAX_WORD_LETTERS:
            return [self.unknown]
        numbers, start = [], 0
        while start < len(word):
            prefix = self.prefix if start else ""
            for end in range(len(word), start, -1):
                number = self.vocabulary.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return [self.unknown]
            numbers.append(number)
            start = end
        return numbers


def words_of(text: str) -> list[str]:
    """Lower-case words without accents; punctuation marks and ideographs are words of their own."""
    cleaned = "".join(" " if sign.isspace() else sign for sign in text if not is_control(sign))
    spaced = "".join(f" {sign} " if is_ideograph(sign) else sign for sign in cleaned)
    plain = (sign for sign in unicodedata.normalize("NFD", spaced) if not is_accent(sign))
    lower = "".join(sign.lower() for sign in plain)
    return "".join(f" {sign} " if is_punctuation(sign) else sign for sign in lower).split()


def is_control(sign: str) -> bool:
    """Whether a character is a control character; tabs and line breaks count as blanks instead."""
    if sign in "\t\n\r":
        return False
    return sign == "\ufffd" or unicodedata.category(sign).startswith("C")


def is_accent(sign: str) -> bool:
    """Whether a character is a combining mark, an accent on the character before it."""
    return unicodedata.category(sign) == "Mn"


def is_ideograph(sign: str) -> bool:
    """Whether a character is a Chinese ideograph."""
    return any(first <= ord(sign) <= last for first, last in IDEOGRAPHS)


def is_punctuation(sign: str) -> bool:
    """Whether a character is punctuation: all of ASCII but letters, digits and blanks, and Unicode's."""
    if sign.isascii():
        return sign.isprintable() and not sign.isalnum() and sign != " "
    return unicodedata.category(sign).startswith("P")
