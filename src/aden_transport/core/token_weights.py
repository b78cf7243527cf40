"""What a pair of bytes, or a character, weighs in tokens: tables for core/estimate.py.

Fitted by ridge regression to `o200k_base` counts of manuals, messages and proverbs in 50 languages, of
source code in eleven, and of JSON, Markdown and numbers; no text of fixtures/corpus was among them.
"""

from __future__ import annotations

__all__ = [
    "AFTER",
    "BEFORE",
    "JAPANESE",
    "OTHER",
    "PAIRS",
    "RARE",
    "RUSSIAN",
    "SCRIPTS",
    "SECOND",
    "TRADITIONAL",
]

# -- Latin letters, digits and signs -----------------------------------------------------------------

CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\r") + b"\x7f"
CONTINUED = bytes(range(0x80, 0xC0))
LATIN_1 = b"\xc3"
LATIN = b"\xc0\xc1\xc2" + bytes(range(0xC4, 0xCE))
E1 = b"\xe1"
"""Begins, among others, the letters of Vietnamese."""
LEADS = bytes(range(0xCE, 0xE1)) + bytes(range(0xE2, 0x100))
"""First bytes of other scripts' characters, which have weights of their own below."""

BEFORE = (
    LEADS,
    CONTINUED,
    b"AEIOUY _" + CONTROLS,
    b"z0123456789" + E1,
    b'rv"',
    b"hky()[]{}",
    b"gBCDFGHJKLMNPQRSTVWXZ",
    b"cdlpux/#$@\\`" + LATIN_1,
    b"%&*+<=>^|~",
    b"it-",
    b"j'!,.:;?",
    b"s",
    b"n\t\r",
    b"eoq" + LATIN,
    b"afmw",
    b"b\n",
)
"""Sixteen classes of a byte of UTF-8 that another follows."""
AFTER = (
    LEADS,
    CONTINUED,
    b"BCDFGHJKLMNPQRSTVWXZ",
    b"ilm()[]{}",
    b"\n",
    b"cdg/" + LATIN_1 + LATIN + E1 + CONTROLS,
    b"q0123456789\t\r%&*+<=>^|~#$@\\`",
    b"z-",
    b"jpstwxAEIOUY",
    b"er",
    b'hn"',
    b"a",
    b"u ",
    b"koy",
    b"bfv",
    b"'!,.:;?_",
)
"""Sixteen classes of the byte that follows."""
PAIRS = (
    "  0   0   0   0   0   0   0   0   0   0   0   0   0   0   0   0",
    "-11   4 -32  21  31  16 -32 -32  26  11 -32 -26  29 -32  16  87",
    " 14   0  -9  48  36  28  90  85  15  37  43  39  10  42  21  23",
    "-32 -26  95  95  34  95  19  72  95   8  80  15  21  33  87  38",
    " 95   0   1  28  95  55  82  37   6  11   3  31  44  13   6  29",
    "-20   0  22  -1  19 -13  91  51  45  29  36   0   6  46  47  24",
    "-32   0  36  47  43  59  95  95  35  23   0  53  18  31  95  19",
    "-32  30  47   9   1  10  40  57   3   1   9   9  24   4  15  27",
    "-32   0  31 -16 -32  41  12  85  62  38  -8  11 -30  28  29  12",
    "-32   0 -19  25  69   7  58   2  13  11 -13  27  30 -12 -15  17",
    " 86   0  -6  30  53  41  80   2  63  44  40  95  57  81  24  30",
    "-11   0   4  60  22 -15  88  33   4  -4  25  62   0  48  74  33",
    "-25   0  12  15  92 -12  21  95   0  32   7  28  12  38  17  20",
    "-32  38 -10  25  89  -5   8  16  -5  -3  -9  26   1  49  -8  37",
    "-17   0  88   8  77  -4  95  57   2 -22  13   7  31 -14   9  10",
    "  9   0  30  11  -8   6  74  71   7   4  41  13  41 -12  34  17",
)
"""1/64 tokens of a pair: a line for each class before, a column for each class after."""

# -- other scripts: tokens of a character --------------------------------------------------------------

SCRIPTS = {
    b"\xce\xcf": 0.42,  # Greek
    b"\xd0\xd1\xd2\xd3": 0.38,  # Cyrillic
    b"\xd4\xd5": 0.39,  # Armenian
    b"\xd6\xd7": 0.42,  # Hebrew
    b"\xd8\xd9": 0.33,  # Arabic
    b"\xda\xdb": 0.38,  # Persian's and Urdu's further letters
    b"\xdc\xdd\xde\xdf": 1.2,  # Syriac, Thaana, N'Ko
    b"\xe2": 0.69,  # dashes, quotation marks, arrows, symbols
    b"\xe4\xe5\xe6\xe7\xe8\xe9": 0.89,  # Han
    b"\xea\xeb\xec\xed": 0.49,  # Hangul
    b"\xee\xef": 0.97,  # full-width forms
    b"\xf0\xf1\xf2\xf3\xf4": 1.79,  # emoji
}
"""By the first byte."""
SECOND = {
    b"\xe0": {
        b"\xa4\xa5": 0.3,  # Devanagari
        b"\xa6\xa7": 0.36,  # Bengali
        b"\xa8\xa9": 0.55,  # Gurmukhi
        b"\xaa\xab": 0.37,  # Gujarati
        b"\xac\xad": 0.7,  # Odia
        b"\xae\xaf": 0.35,  # Tamil
        b"\xb0\xb1": 0.43,  # Telugu
        b"\xb2\xb3": 0.4,  # Kannada
        b"\xb4\xb5": 0.37,  # Malayalam
        b"\xb6\xb7": 0.59,  # Sinhala
        b"\xb8\xb9": 0.49,  # Thai
        b"\xba\xbb": 1.93,  # Lao
        b"\xbc\xbd\xbe\xbf": 1.5,  # Tibetan
    },
    b"\xe1": {
        b"\x80\x81\x82": 0.59,  # Burmese
        b"\x83": 0.36,  # Georgian
        b"\x88\x89\x8a\x8b\x8c\x8d": 2.0,  # Ethiopic
        b"\x9e\x9f": 0.69,  # Khmer
        b"\xb8\xb9\xba\xbb": 0.34,  # Vietnamese
        b"\xbc\xbd\xbe\xbf": 0.9,  # ancient Greek
    },
    b"\xe3": {
        b"\x80": 0.78,  # East Asian signs
        b"\x81": 0.61,  # Hiragana
        b"\x82": 0.67,  # Hiragana and Katakana
        b"\x83": 0.69,  # Katakana
    },
}
"""By the second byte, where the first is shared."""
OTHER = 1.2
"""Of a character whose second byte stands in no list of `SECOND`."""
RUSSIAN = -0.08
"""What a Cyrillic letter of a Russian text has less."""
JAPANESE = 0.26
"""What a Han character has more in a Japanese text."""
TRADITIONAL = 0.63
"""What a Han character has more that GB 2312 does not have: most of those that were simplified."""
RARE = 0.79
"""What a Han character has more that stands on the second level of GB 2312."""
