"""Job arguments: checked against the function's annotations when enqueued, converted to them when run.

Arguments travel as a msgpack array `[args, kwargs]`. What the producer sends is decoded there and then to the
annotated types, as the job worker will: a call that could not run is refused before it is accepted.
"""

from __future__ import annotations

import inspect
import pickle
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headgate.base.errors import BadArguments

_encode = msgspec.msgpack.Encoder().encode
_decode_pair: msgspec.msgpack.Decoder[tuple[list[Any], dict[str, Any]]] = msgspec.msgpack.Decoder(
    tuple[list[Any], dict[str, Any]]
)
PICKLED: Final = 80
"""The code of a msgpack extension that holds pickled arguments."""
_CANNOT = (
    "pass what msgpack can carry (numbers, text, bytes, lists, dicts, dates, UUIDs, dataclasses or msgspec structs): "
    "an id instead of a database row, a path instead of an open file"
)


class Signature:
    """The parameters of a job function that a caller fills in.

    Args:
        function: the declared function.
        skip: how many leading parameters are not the caller's (1 for the job context).
        item: the function takes a list, and a caller gives one item of it.
    """

    def __init__(self, function: Callable[..., Any], skip: int, item: bool = False) -> None:
        self._function = function
        self._item = item
        self._name = function.__name__
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        self._signature = inspect.Signature(parameters)
        plain = all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
        self._plain = [parameter.name for parameter in parameters] if plain else None
        self._required = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
        self._types: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self._name}{self._signature}"

    @property
    def names(self) -> list[str]:
        """The parameters' names."""
        return list(self._signature.parameters)

    def pickled(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The call with its arguments pickled, as `encode` otherwise.

        Raises:
            BadArguments: it does not fit the signature, or a value cannot be pickled.
        """
        self.bind(args, kwargs)
        try:
            raw = pickle.dumps((tuple(args), dict(kwargs)), pickle.HIGHEST_PROTOCOL)
        except Exception as exc:
            raise BadArguments(f"the arguments of {self} cannot be pickled: {exc}") from exc
        return _encode([[msgspec.msgpack.Ext(PICKLED, raw)], {}])

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The call's arguments by name, defaults included.

        Raises:
            BadArguments: too few, too many, or an unknown name.
        """
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise BadArguments(f"{self} cannot be called so: {exc}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The call as msgpack, once it is known that the job worker can take it.

        Raises:
            BadArguments: it does not fit the signature, a value cannot be carried, or has the wrong type;
                the message names the argument.
        """
        self._check_call(args, kwargs)
        names = self._positional_names(len(args))
        raw_args = [self._carry(name, value) for name, value in zip(names, args, strict=True)]
        raw_kwargs = {name: self._carry(name, value) for name, value in kwargs.items()}
        return _encode([raw_args, raw_kwargs])

    def convert(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Decoded arguments turned into the annotated types.

        Raises:
            BadArguments: they do not fit (the function was changed while the job waited).
        """
        self._check_call(args, kwargs)
        names = self._positional_names(len(args))
        positional = [self._as_annotated(name, value) for name, value in zip(names, args, strict=True)]
        return positional, {name: self._as_annotated(name, value) for name, value in kwargs.items()}

    def _check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """As `bind`, without its result: that costs as much as all the rest, and most functions need none of it."""
        names = self._plain
        if names is not None and len(args) <= len(names):
            given = {*names[: len(args)], *kwargs}
            if len(given) == len(args) + len(kwargs) and self._required <= given <= set(names):
                return
        self.bind(args, kwargs)

    def _positional_names(self, count: int) -> list[str]:
        if self._plain is not None:
            return self._plain[:count]
        names: list[str] = []
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [parameter.name] * (count - len(names))
            elif len(names) < count:
                names.append(parameter.name)
        return names[:count]

    def _annotation(self, name: str) -> Any:
        types = self._types
        if types is None:
            types = self._types = self._annotations()
        return types.get(name, types.get("**", Any))

    def _annotations(self) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(self._function, include_extras=True)
        except NameError as exc:
            raise BadArguments(f"an annotation of {self} names {exc.name!r}, which its module does not have") from exc
        hints.pop("return", None)
        if self._item:
            hints = {name: next(iter(typing.get_args(hint)), Any) for name, hint in hints.items()}
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                hints["**"] = hints.pop(parameter.name, Any)
        return hints

    def _carry(self, name: str, value: Any) -> msgspec.Raw:
        try:
            raw = _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise BadArguments(
                f"argument {name!r} of {self} is a {_type_name(value)} that cannot be sent to a job worker "
                f"({exc}); {_CANNOT}"
            ) from None
        wanted = self._annotation(name)
        if wanted is not Any:
            self._check(name, raw, wanted)
        return msgspec.Raw(raw)

    def _check(self, name: str, raw: bytes, wanted: Any) -> None:
        try:
            msgspec.msgpack.decode(raw, type=wanted)
        except msgspec.ValidationError as exc:
            raise self._unfit(name, exc) from None
        except TypeError as exc:
            raise self._unsupported(name, wanted, exc) from None

    def _as_annotated(self, name: str, value: Any) -> Any:
        wanted = self._annotation(name)
        if wanted is Any:
            return value
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as exc:
            raise self._unfit(name, exc) from None
        except TypeError as exc:
            raise self._unsupported(name, wanted, exc) from None

    def _unfit(self, name: str, exc: Exception) -> BadArguments:
        return BadArguments(
            f"argument {name!r} of {self} does not fit its annotation: {exc}; convert it before enqueueing"
        )

    def _unsupported(self, name: str, wanted: Any, exc: Exception) -> BadArguments:
        return BadArguments(
            f"argument {name!r} of {self} is annotated {wanted!r}, which cannot be rebuilt in a job worker "
            f"({exc}); {_CANNOT}"
        )


def decode(raw: bytes, *, unpickle: bool = False) -> tuple[list[Any], dict[str, Any]]:
    """The `[args, kwargs]` of a job as plain values.

    Args:
        unpickle: the function that they are for asks for pickle. What is stored never decides that: to unpickle is to
            run code of whoever wrote the bytes.

    Raises:
        BadArguments: the bytes are not that.
    """
    try:
        args, kwargs = _decode_pair.decode(raw)
    except msgspec.DecodeError as exc:
        raise BadArguments(
            f"the job's stored arguments cannot be read ({exc}); it was not enqueued by Headgate"
        ) from None
    if not (args and isinstance(args[0], msgspec.msgpack.Ext) and args[0].code == PICKLED):
        return args, kwargs
    if not unpickle:
        raise BadArguments(
            "the job's arguments were pickled, and its function does not ask for that (any more); "
            'declare it with serializer="pickle", or enqueue the job again'
        )
    try:
        given, named = pickle.loads(args[0].data)
    except Exception as exc:
        raise BadArguments(f"the job's pickled arguments cannot be rebuilt here: {exc}") from exc
    return list(given), dict(named)


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
