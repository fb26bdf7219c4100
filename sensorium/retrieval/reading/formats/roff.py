"""Lines of roff → words: its escapes, the arguments of its macros, and the macros of mdoc within lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_CHARACTERS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "\u2018", "cq": "\u2019", "em": "—", "en": "-", "hy": "-",
    "bu": "•",
    "co": "©", "rg": "®", "tm": "™", "ha": "^", "ti": "~", "rs": "\\", "mi": "-", "pl": "+", "mu": "×", "di": "÷",
    "+-": "±", "<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "<-": "←", "de": "°", "sc": "§", "ga": "`", "aa": "\u00b4",
    "at": "@", "sh": "#", "Do": "$", "ba": "|", "or": "|", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "<",
    "ra": ">", "Eu": "€", "Po": "£", "Fo": "«", "Fc": "»", "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "o/": "ø",
    ":a": "ä", ":o": "ö", ":u": "ü", ":A": "Ä", ":O": "Ö", ":U": "Ü", "'e": "é", "`e": "è", "^e": "ê", "'a": "á",
    "`a": "à", "'o": "ó", "'i": "í", "'u": "ú", "~n": "ñ", ",c": "ç", "oa": "å", "14": "¼", "12": "½", "34": "¾",
    "Lq": "“", "Rq": "”", "Tm": "™", "R": "®", "q": '"', "*m": "μ", "*p": "π", "dg": "†", "ci": "○", "lh": "☜",
}  # fmt: skip
"""What `\\(xx` and `\\[xx]` stand for, as groff_char(7) has it, as far as it is met in manual pages."""

_ESCAPE = re.compile(
    r"\\(?:"
    r"(?P<drop>[fFmMkYgn](?:\([^\n]{2}|\[[^\]\n]*\]|[+-]?[^\n])|s(?:[+-]?\d{1,2}|\[[^\]\n]*\]|'[^'\n]*'|\([^\n]{2})"
    r"|[hvwlLDbxZRSHAoNBX]'[^'\n]*'|z|[&|^/,%:)cudprta{}!?])"
    r"|\*(?:\((?P<s2>[^\n]{2})|\[(?P<sn>[^\]\n]*)\]|(?P<s1>[^\n]))"
    r"|\((?P<c2>[^\n]{2})|\[(?P<cn>[^\]\n]*)\]|C'(?P<cc>[^'\n]*)'"
    r"|(?P<plain>[\\e.'`\-_ ~0\"E])|(?P<other>[^\n])?)"
)
_PLAIN = {"\\": "\\", "e": "\\", "E": "\\", " ": " ", "~": " ", "0": " "}
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\ |[^\s])+)')

# fmt: off
MACROS = frozenset([
    "Ac", "Ad", "An", "Ao", "Ap", "Aq", "Ar", "At", "Bc", "Bo", "Bq", "Brc", "Bro", "Brq", "Bx", "Cd", "Cm", "Dc", "Do",
    "Dq", "Dv", "Em", "Er", "Ev", "Ex", "Fa", "Fl", "Fn", "Ft", "Fx", "Ic", "In", "Li", "Lk", "Ms", "Mt", "Nd", "Nm",
    "No", "Ns", "Nx", "Oc", "Oo", "Op", "Ox", "Pa", "Pc", "Pf", "Po", "Pq", "Qc", "Ql", "Qo", "Qq", "Rv", "Sc", "So",
    "Sq", "St", "Sx", "Sy", "Ta", "Tn", "Va", "Vt", "Xc", "Xo", "Xr",
])
# fmt: on
_AROUND = {
    "Op": "[]",
    "Aq": "<>",
    "Bq": "[]",
    "Brq": "{}",
    "Dq": "“”",
    "Pq": "()",
    "Qq": '""',
    "Sq": "\u2018\u2019",
    "Ql": "\u2018\u2019",
}
_OPEN = {"Oo": "[", "Ao": "<", "Bo": "[", "Bro": "{", "Do": "“", "Po": "(", "Qo": '"', "So": "\u2018"}
_CLOSE = {"Oc": "]", "Ac": ">", "Bc": "]", "Brc": "}", "Dc": "”", "Pc": ")", "Qc": '"', "Sc": "\u2019"}
_WORDS = {"Ap": "'", "At": "AT&T UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "Ta": "|"}
_MARKS = (".", ",", ";", ":", "(", ")", "[", "]", "?", "!", "|")
_NO_SPACE = "\x03"


def plain(text: str, strings: Mapping[str, str]) -> str:
    """A line without escapes; those that stand for characters are these."""

    def character(match: re.Match[str]) -> str:
        if match["drop"] is not None:
            return ""
        named = next((match[group] for group in ("s2", "sn", "s1", "c2", "cn", "cc") if match[group] is not None), None)
        if named is not None:
            code = re.fullmatch(r"u([0-9A-Fa-f]{4,6})(?:_.*)?", named)
            if code and int(code[1], 16) < 0x110000 and not 0xD800 <= int(code[1], 16) < 0xE000:
                return chr(int(code[1], 16))
            return strings.get(named, _CHARACTERS.get(named, ""))
        if match["plain"] is not None:
            return _PLAIN.get(match["plain"], match["plain"])
        return match["other"] or ""

    return _ESCAPE.sub(character, text)


def split_arguments(rest: str) -> list[str]:
    """The arguments of a macro: words, or what stands in quotation marks."""
    found = _ARGUMENT.finditer(rest)
    return [match[2] if match[2] is not None else match[1].replace('""', '"') for match in found]


def mdoc_words(arguments: Sequence[str], strings: Mapping[str, str], name: str) -> str:
    """What mdoc's macros in a line say: `Op Fl v Ar file` is "[-v file]"."""
    count = len(arguments)
    while count and arguments[count - 1] in _MARKS:
        count -= 1
    marks, arguments = list(arguments[count:]), arguments[:count]  # which stand outside of quotation marks and the like
    words: list[str] = []
    closing: list[str] = []
    macro, met = "", True
    for argument in arguments:
        if argument not in MACROS:
            said = plain(argument, strings)
            if macro == "Xr" and met and said[:1].isdigit():
                words[-1] += f"({said})"
            else:
                words.append(f"-{said}" if macro == "Fl" and said not in _MARKS else said)
            words += [_NO_SPACE] if macro == "Pf" and not met else []
            met = True
            continue
        if not met:
            words += _alone(macro, name)
        macro, met = argument, argument in {*_AROUND, *_OPEN, *_CLOSE, *_WORDS, "Ns", "No", "Xo", "Xc", "Nd"}
        if macro in _AROUND:
            words += [_AROUND[macro][0], _NO_SPACE]
            closing.insert(0, _AROUND[macro][1])
        elif macro in _OPEN:
            words += [_OPEN[macro], _NO_SPACE]
        elif macro in _CLOSE:
            words += [_NO_SPACE, _CLOSE[macro]]
        elif macro in ("Ns", "Ap"):
            words += [_NO_SPACE, *([_WORDS[macro], _NO_SPACE] if macro == "Ap" else [])]
        elif macro == "Nd":
            words.append("-")
        elif macro in _WORDS:
            words.append(_WORDS[macro])
    if not met:
        words += _alone(macro, name)
    for mark in closing:
        words += [_NO_SPACE, mark]
    return _together([*words, *marks])


def blanks_of(words: Sequence[str]) -> str:
    """Words of a filled line, a space apart."""
    text = " ".join(words)
    return text.rstrip() if len(words) == 1 else " ".join(text.split())


def _alone(macro: str, name: str) -> list[str]:
    """What a macro without arguments says."""
    return {"Fl": ["-"], "Ar": ["file ..."], "Nm": [name]}.get(macro, [])


def _together(words: Sequence[str]) -> str:
    text = " ".join(words)
    text = re.sub(rf" ?{_NO_SPACE} ?", "", text)
    text = re.sub(r"(\S) ([.,;:?!)\]])(?=\s|$)", r"\1\2", text)
    return re.sub(r"(?:^|(?<=\s))([(\[]) ", r"\1", text)
