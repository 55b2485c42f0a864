"""A reader of short pieces of Python, by their tokens: what is called, and with what.

The standard library's parser is not for a look from another thread. In CPython 3.11 the depth that it counts belongs
to the interpreter (CPython issue 106905): a parse beside one of the service's own, which web frameworks make while
routes are added, ends the service's with a SystemError.
"""

from __future__ import annotations

import io
import keyword
import token
import tokenize
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

_LAYOUT: Final = frozenset(
    {token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER, tokenize.NL, tokenize.COMMENT, tokenize.ENCODING}
)
_F_STRING_BEGINS: Final = {getattr(token, "FSTRING_START", -1), getattr(token, "TSTRING_START", -1)}
_F_STRING_ENDS: Final = {getattr(token, "FSTRING_END", -1), getattr(token, "TSTRING_END", -1)}
_CLOSES: Final = {")": "(", "]": "[", "}": "{"}
_VALUES: Final = frozenset({"None", "True", "False"})
_ASSIGN: Final = frozenset({"=", "+=", "-=", "*=", "/=", "//=", "%=", "@=", "&=", "|=", "^=", ">>=", "<<=", "**="})
_WORK: Final = frozenset({"+", "-", "*", "/", "//", "%", "@", "&", "|", "^", ">>", "<<", "**"})
_DEFINES: Final = ("def", "class", "async", "@", "import", "from", "case")
_LEADS: Final = frozenset({"return", "yield", "assert", "if", "elif", "while", "del", "raise", "with", "in", "await"})


@dataclass(frozen=True, slots=True)
class Expression:
    """A piece of source."""

    text: str
    """All of it, on one line."""
    function: str = ""
    """What it calls; "" when it is no call."""
    arguments: tuple[str, ...] = ()
    """What is passed by position."""


class _Token(NamedTuple):
    kind: int
    text: str
    begin: int
    end: int


class _Piece:
    """Tokens, and where each bracket's other half is."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = _tokens(source)
        self.other: dict[int, int] = {}
        self.depth: list[int] = []
        self.sound = True
        """Whether no bracket closes what was not opened."""
        self._match()

    def _match(self) -> None:
        opened: list[int] = []
        for index, each in enumerate(self.tokens):
            if each.text in _CLOSES and each.kind == token.OP:
                if not opened or self.tokens[opened[-1]].text != _CLOSES[each.text]:
                    self.sound = False
                    return
                self.other[index] = opened.pop()
                self.other[self.other[index]] = index
            self.depth.append(len(opened))
            if each.text in _CLOSES.values() and each.kind == token.OP:
                opened.append(index)

    def between(self, begin: int, end: int) -> str:
        """The source of the tokens from `begin` up to and without `end`."""
        if begin >= end:
            return ""
        return " ".join(self.source[self.tokens[begin].begin : self.tokens[end - 1].end].split())

    def ends_value(self, index: int) -> bool:
        """Whether a value may end with this token, so that a `(` behind it is a call."""
        each = self.tokens[index]
        if each.kind == token.NAME:
            return not keyword.iskeyword(each.text) or each.text in _VALUES
        return each.kind in (token.STRING, token.NUMBER) or each.text in (")", "]", "}")

    def chain(self, end: int) -> int:
        """Where the chain of names, calls and subscripts begins that ends before `end`; `end` when there is none."""
        at = end
        while at > 0 and self.ends_value(at - 1):
            at -= 1
            if self.tokens[at].text in _CLOSES:
                at = self.other[at]
                if at > 0 and self.ends_value(at - 1):
                    continue  # a call or a subscript of what is before it
            if at == 0 or self.tokens[at - 1].text != ".":
                return at
            at -= 1
        return end

    def call(self, opening: int, begin: int) -> Expression:
        """The call whose chain begins at `begin` and whose arguments begin at `opening`; it may be cut off."""
        closing = self.other.get(opening, len(self.tokens))
        until = min(closing + 1, len(self.tokens))
        return Expression(self.between(begin, until), self.between(begin, opening), self._arguments(opening, closing))

    def _arguments(self, opening: int, closing: int) -> tuple[str, ...]:
        found = []
        begin = opening + 1
        for index in range(opening + 1, closing + 1):
            last = index == closing
            if last or (self.tokens[index].text == "," and self.depth[index] == self.depth[opening] + 1):
                if self._by_position(begin, index):
                    found.append(self.between(begin, index))
                begin = index + 1
        return tuple(found)

    def _by_position(self, begin: int, end: int) -> bool:
        named = end - begin > 2 and self.tokens[begin + 1].text == "="
        return begin < end and not named and self.tokens[begin].text not in ("*", "**")


@lru_cache(maxsize=256)
def read(text: str) -> Expression | None:
    """An expression, which may go over several lines; an `await` before it does not count.

    Args:
        text: the source of one whole expression.

    Returns:
        What it is, or None when the text is none.
    """
    piece = _Piece(f"({text}\n)")
    if not piece.sound or len(piece.tokens) < 3 or piece.other.get(0) != len(piece.tokens) - 1:
        return None
    begin, end = 1, len(piece.tokens) - 1
    while begin < end and piece.tokens[begin].text == "await":
        begin += 1
    opening = piece.other.get(end - 1, -1)
    if piece.tokens[end - 1].text == ")" and opening > begin and piece.chain(opening) == begin:
        return piece.call(opening, begin)
    return Expression(piece.between(begin, end))


@lru_cache(maxsize=256)
def on_line(text: str) -> Expression | None:
    """The outermost call of a line, the first when there are several, or its value when it calls nothing.

    Args:
        text: a line of source; the statement may go on behind it.

    Returns:
        None where nothing is worked out: a definition, a plain assignment, the middle of a statement.
    """
    if text.startswith(_DEFINES) and not text.startswith(("async with", "async for")):
        first = text.split(None, 1)[0]
        if first in _DEFINES or first.startswith("@"):
            return None
    piece = _Piece(text.strip())
    if not piece.sound:
        return None
    calls = [
        (piece.depth[index], piece.chain(index), -index)
        for index, each in enumerate(piece.tokens)
        if each.text == "(" and each.kind == token.OP and piece.chain(index) < index
    ]
    if calls:
        _, begin, last = min(calls)
        return piece.call(-last, begin)
    return _value(piece)


def _value(piece: _Piece) -> Expression | None:
    """What the line works out without a call: an operation, or a comprehension."""
    begin, end = 0, len(piece.tokens)
    if end and piece.tokens[end - 1].text == ":":
        end -= 1
    for index in range(end):
        each = piece.tokens[index]
        if piece.depth[index] == 0 and (each.text in _ASSIGN or each.text in _LEADS):
            begin = index + 1
    for index in range(begin, end):
        each = piece.tokens[index]
        operates = each.text in _WORK and each.kind == token.OP and index > begin and piece.ends_value(index - 1)
        if operates or (each.text == "for" and piece.depth[index] > 0):
            return Expression(piece.between(begin, end))
    return None


@lru_cache(maxsize=256)
def path(text: str) -> tuple[str, ...]:
    """The names of `a.b.c`, the first of which may be a literal; empty when it is anything else."""
    piece = _Piece(text)
    names, dots = piece.tokens[::2], piece.tokens[1::2]
    plain = len(names) == len(dots) + 1 and all(each.text == "." for each in dots)
    if not plain or not all(each.kind in (token.NAME, token.STRING, token.NUMBER) for each in names):
        return ()
    return tuple(each.text for each in names)


@lru_cache(maxsize=256)
def literal(text: str) -> str | bytes | None:
    """The value of string literals that stand beside one another; in an f-string the values are left as written."""
    found: list[str | bytes] = []
    for each in _tokens(text):
        if each.kind != token.STRING:
            return None
        prefix = each.text[: each.text.index(each.text[-1])]
        if prefix.lower().strip("rb") == "":
            constants = compile(each.text, "<literal>", "eval").co_consts
            found.append(constants[0])
        else:
            quote = each.text[-3:] if each.text[len(prefix) :].startswith(each.text[-1] * 3) else each.text[-1]
            found.append(each.text[len(prefix) + len(quote) : -len(quote)])
    if found and all(isinstance(each, bytes) for each in found):
        return b"".join(each for each in found if isinstance(each, bytes))
    return "".join(each for each in found if isinstance(each, str)) if found else None


def _tokens(source: str) -> list[_Token]:
    """The tokens as far as they can be told, an f-string being one."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found: list[_Token] = []
    inside = begun = 0
    try:
        for each in tokenize.generate_tokens(io.StringIO(source).readline):
            begin, end = (starts[line - 1] + column for line, column in (each.start, each.end))
            if each.type in _F_STRING_BEGINS:
                begun = begun if inside else begin
                inside += 1
            elif each.type in _F_STRING_ENDS:
                inside -= 1
                if not inside:
                    found.append(_Token(token.STRING, source[begun:end], begun, end))
            elif not inside and each.type not in _LAYOUT:
                found.append(_Token(each.type, each.string, begin, end))
    except (tokenize.TokenError, SyntaxError):
        pass  # it goes on behind the text
    return found
