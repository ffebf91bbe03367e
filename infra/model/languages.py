"""Trims a vocabulary to languages: a piece stays when every character of it is written in one of them."""

from __future__ import annotations

import dataclasses
import unicodedata

from encoder import BuildError, Encoder, Unigram

# Ranges of code points, as [first, last].
_HAN = [(0x2E80, 0x2FDF), (0x3100, 0x312F), (0x31A0, 0x31BF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)]
_HAN += [(0x20000, 0x323AF)]
_KANA = [(0x3040, 0x30FF), (0x31F0, 0x31FF)]
_HANGUL = [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)]
_CYRILLIC = [(0x0400, 0x052F)]
_ARABIC = [(0x0600, 0x06FF), (0x0750, 0x077F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)]
_DEVANAGARI = [(0x0900, 0x097F)]

# What each language is written with beyond the characters every language shares: ranges, or letters (lower case).
LANGUAGES: dict[str, list[tuple[int, int]] | str] = {
    "af": "áèéêëíîïóôöúûü",
    "ar": _ARABIC,
    "bg": _CYRILLIC,
    "bn": [(0x0980, 0x09FF)],
    "ca": "àçèéíïòóúü·",
    "cs": "áčďéěíňóřšťúůýž",
    "da": "åæøéü",
    "de": "äöüßẞéà",
    "el": [(0x0370, 0x03FF), (0x1F00, 0x1FFF)],
    "en": "",
    "es": "áéíñóúü",
    "et": "äõöüšž",
    "fa": _ARABIC,
    "fi": "äåöšž",
    "fr": "àâæçèéêëîïôœùûüÿ",
    "gu": [(0x0A80, 0x0AFF)],
    "he": [(0x0590, 0x05FF), (0xFB1D, 0xFB4F)],
    "hi": _DEVANAGARI,
    "hr": "čćđšž",
    "hu": "áéíóöőúüű",
    "hy": [(0x0530, 0x058F)],
    "id": "é",
    "is": "áæéíðóöúýþ",
    "it": "àèéìíîòóùú",
    "ja": _HAN + _KANA,
    "ka": [(0x10A0, 0x10FF), (0x1C90, 0x1CBF)],
    "km": [(0x1780, 0x17FF)],
    "kn": [(0x0C80, 0x0CFF)],
    "ko": _HANGUL + _HAN,
    "lo": [(0x0E80, 0x0EFF)],
    "lt": "ąčėęįšūųž",
    "lv": "āčēģīķļņōŗšūž",
    "ml": [(0x0D00, 0x0D7F)],
    "mn": _CYRILLIC,
    "mr": _DEVANAGARI,
    "ms": "é",
    "my": [(0x1000, 0x109F)],
    "ne": _DEVANAGARI,
    "nl": "áèéëïóöúü",
    "no": "åæøéèêóòôü",
    "pa": [(0x0A00, 0x0A7F)],
    "pl": "ąćęłńóśźż",
    "pt": "àáâãçéêíóôõúü",
    "ro": "âăîșşțţ",
    "ru": _CYRILLIC,
    "si": [(0x0D80, 0x0DFF)],
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "sl": "čšžćđ",
    "sq": "çë",
    "sr": _CYRILLIC + [(0x0106, 0x0107), (0x010C, 0x010D), (0x0110, 0x0111), (0x0160, 0x0161), (0x017D, 0x017E)],
    "sv": "åäöéàü",
    "sw": "",
    "ta": [(0x0B80, 0x0BFF)],
    "te": [(0x0C00, 0x0C7F)],
    "th": [(0x0E00, 0x0E7F)],
    "tl": "ñ",
    "tr": "âçğıiîöşüûİ",
    "uk": _CYRILLIC,
    "ur": _ARABIC,
    "vi": "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "zh": _HAN,
}


def parse(text: str) -> list[str] | None:
    """`zh,en` as a list without repeats; `all` as None."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ["all"]:
        return None
    unknown = [name for name in names if name not in LANGUAGES]
    if unknown or not names:
        known = " ".join(LANGUAGES)
        raise BuildError(f"--languages: no such language: {', '.join(unknown) or text!r}; known are all or: {known}")
    return names


def trim(encoder: Encoder, languages: list[str] | None, ascii_pieces: int | None = None) -> Encoder:
    """The encoder with only the pieces and word vectors of `languages`; ids are given anew, in the old order.

    Of the pieces in ASCII only the `ascii_pieces` with the best scores stay, when a number is given.
    """
    tokenizer, tensors = encoder.tokenizer, encoder.tensors
    kept = list(range(len(tokenizer.pieces)))
    if languages is not None:
        specials, written = tokenizer.specials(), _Written(languages)
        continuation = "" if isinstance(tokenizer, Unigram) else "##"
        kept = [i for i in kept if i in specials or written.all_of(tokenizer.pieces[i].removeprefix(continuation))]
    if ascii_pieces is not None:
        kept = _without_rare_ascii(tokenizer, kept, ascii_pieces)
    ids = {old: new for new, old in enumerate(kept)}
    changes: dict[str, object] = {"pieces": [tokenizer.pieces[i] for i in kept]}
    changes |= {name: ids[getattr(tokenizer, name)] for name in ("begin", "end", "pad", "unknown")}
    if isinstance(tokenizer, Unigram):
        changes["scores"] = [tokenizer.scores[i] for i in kept]
    return dataclasses.replace(
        encoder,
        tokenizer=dataclasses.replace(tokenizer, **changes),
        tensors=tensors | {"word": tensors["word"][kept]},
    )


def _without_rare_ascii(tokenizer: Unigram | WordPiece, kept: list[int], count: int) -> list[int]:
    if not isinstance(tokenizer, Unigram):
        raise BuildError("--ascii-pieces: this model's pieces have no scores to choose by")
    specials = tokenizer.specials()
    ascii = [i for i in kept if tokenizer.pieces[i].replace("▁", "").isascii() and i not in specials]
    rare = set(sorted(ascii, key=lambda i: -tokenizer.scores[i])[count:])
    return [i for i in kept if i not in rare]


class _Written:
    """Which characters the languages, and the signs that all languages share, are written with."""

    def __init__(self, languages: list[str]) -> None:
        self.letters: set[str] = set()
        self.ranges: list[tuple[int, int]] = []
        self.known: dict[str, bool] = {}
        for language in languages:
            how = LANGUAGES[language]
            if isinstance(how, str):
                self.letters.update(how, how.upper())
            else:
                self.ranges.extend(how)

    def all_of(self, piece: str) -> bool:
        return all(self._has(character) for character in piece)

    def _has(self, character: str) -> bool:
        if character not in self.known:
            code = ord(character)
            ours = code < 0x80 or character in self.letters or any(a <= code <= b for a, b in self.ranges)
            # Punctuation, symbols, emoji and the marks that join them belong to everyone.
            self.known[character] = ours or unicodedata.category(character)[0] in "PSZC"
        return self.known[character]
