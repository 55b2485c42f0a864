"""What a MySQL or MariaDB error means for the chunk it ended."""

from __future__ import annotations

import re
from typing import Final

import pymysql

from headgate.bulk.failures import Refused, TryAgain

# https://mariadb.com/kb/en/mariadb-error-codes/ and MySQL's server error reference; 2xxx are the client's own
LOST: Final = frozenset(
    {0, 1053, 1077, 1079, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013, 2055}
)
AGAIN: Final = frozenset({1020, 1040, 1203, 1213, 1614})
SLOW: Final = frozenset({1205, 1317, 1969, 3024})
CONTENT: Final = frozenset(
    {1048, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1216, 1217, 1451, 1452, 1644, 3819, 4025, 4078}
)

_ROW: Final = re.compile(r"at row (\d+)")
_COLUMN: Final = re.compile(r"[Cc]olumn [`']?(?:[^`'.]+`?\.`?)*([^`'.]+)[`']")


def code_of(error: pymysql.MySQLError) -> int:
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def lost(error: pymysql.MySQLError) -> bool:
    return isinstance(error, pymysql.InterfaceError) or code_of(error) in LOST


def translate(error: pymysql.MySQLError, staging: bool) -> Exception:
    """The writer's exception for the driver's; `staging`: the row number in the message is the chunk's."""
    words = str(error.args[1]) if len(error.args) > 1 else str(error)
    code = code_of(error)
    if lost(error):
        return TryAgain(f"the connection was lost ({words or type(error).__name__})", lost=True)
    if code in SLOW:
        return TryAgain(words, smaller=True)
    if code in AGAIN:
        return TryAgain(words)
    if code in CONTENT or isinstance(error, pymysql.DataError | pymysql.IntegrityError):
        return refused(words, staging)
    return error


def refused(words: str, staging: bool) -> Refused:
    """The row and column, as far as the message tells them."""
    row = _ROW.search(words)
    column = _COLUMN.search(words)
    index = int(row.group(1)) - 1 if row and staging else None
    return Refused(words, column.group(1) if column else None, index)
