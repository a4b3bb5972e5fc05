"""A walk through a checkpoint's pickle program that keeps tensor descriptors and runs nothing.

The stack machine of pickle with a short list of instructions, each of which can make only the values of `values`. What is not
on a list ends in one UnsafeFormatError that says what the file wanted to call and where. Containers are built as the
instructions come, without recursion: a cycle or a tower of tuples is a value like any other, and is never walked.
"""

from __future__ import annotations

from collections.abc import Callable

from provenance_gate.artifact.torchfile.calls import call, storage_of
from provenance_gate.artifact.torchfile.opcodes import ByteStream, Decoder
from provenance_gate.artifact.torchfile.values import GLOBALS, Forbidden, Global, Inert, OrderedItems, Storage
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAX_BYTES = 64 << 20
"""Of one program. Real ones take some 250 bytes per tensor."""
MAX_STEPS = 1_200_000
"""Instructions plus elements moved. Real programs take about 35 per tensor."""
MAX_COST = 42_000_000
"""Bytes of memory that the values may take, as estimated when they are made (about 1900 per tensor)."""
MAX_STACK = 100_000
MAX_MEMO_INDEX = 2 * MAX_STEPS
MAX_PROTOCOL = 5

_REFUSED = {
    "PERSID": "names an object by text",
    "EXT1": "calls an extension registered with copyreg",
    "EXT2": "calls an extension registered with copyreg",
    "EXT4": "calls an extension registered with copyreg",
    "NEXT_BUFFER": "asks for a buffer outside of the file",
    "READONLY_BUFFER": "asks for a buffer outside of the file",
}


class Machine:
    """One program. `storages` holds every storage that it declares, by key; `most` is its share of `MAX_COST`."""

    def __init__(self, stream: ByteStream, legacy: bool, most: int = MAX_COST) -> None:
        self._decoder, self._stream, self._legacy = Decoder(stream), stream, legacy
        self.storages: dict[str, Storage] = {}
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._steps = self._cost = 0
        self._most = most
        self._forbidden: Forbidden | None = None
        self._offset, self._opcode = stream.offset, ""
        self._handlers: dict[str, Callable[[object], None]] = {
            "PROTO": self._protocol, "FRAME": self._nothing, "MARK": self._mark, "POP": self._pop_one,
            "POP_MARK": self._pop_mark, "DUP": self._dup, "NONE": lambda _: self._push(None),
            "NEWTRUE": lambda _: self._push(True), "NEWFALSE": lambda _: self._push(False),
            "EMPTY_TUPLE": lambda _: self._push(()), "EMPTY_LIST": lambda _: self._push([], 72),
            "EMPTY_DICT": lambda _: self._push({}, 72), "EMPTY_SET": lambda _: self._push(Inert("set"), 64),
            "LIST": lambda _: self._push(self._to_mark(), 80), "DICT": self._dict, "FROZENSET": self._frozen,
            "TUPLE": lambda _: self._tuple(self._to_mark()), "TUPLE1": lambda _: self._tuple(self._take(1)),
            "TUPLE2": lambda _: self._tuple(self._take(2)), "TUPLE3": lambda _: self._tuple(self._take(3)),
            "APPEND": lambda _: self._append(self._take(1)), "APPENDS": lambda _: self._append(self._to_mark()),
            "ADDITEMS": self._add, "SETITEM": lambda _: self._set(self._take(2)),
            "SETITEMS": lambda _: self._set(self._to_mark()), "GET": self._get, "BINGET": self._get,
            "LONG_BINGET": self._get, "PUT": self._put, "BINPUT": self._put, "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)), "GLOBAL": self._global, "STACK_GLOBAL": self._stack_global,
            "BINPERSID": self._persistent, "REDUCE": self._reduce, "BUILD": self._build, "INST": self._inst,
            "OBJ": self._obj, "NEWOBJ": self._newobj, "NEWOBJ_EX": self._newobj,
        }  # fmt: skip

    def run(self) -> object:
        """The value at the program's end; the stream then stands behind its STOP.

        Raises
        ------
        UnsafeFormatError
            It names, calls or asks for anything that tensors do not need, or it is larger than the limits above.
        MalformedFileError
            It breaks the rules of pickle, or says of a tensor what cannot be.
        """
        try:
            value = self._walk()
        except MalformedFileError as error:
            # Unpickling runs what comes before the fault.
            if self._forbidden is None:
                raise
            raise self._named(self._forbidden) from error
        if self._forbidden is not None:
            raise self._named(self._forbidden)
        return value

    def _walk(self) -> object:
        stream, decoder, handlers = self._stream, self._decoder, self._handlers
        last = stream.offset + MAX_BYTES
        while True:
            self._offset = stream.offset
            self._opcode, argument = decoder.next()
            self._spend(1, 0)
            if stream.offset > last:
                raise UnsafeFormatError(f"{stream.name}: pickle of more than {MAX_BYTES >> 20} MiB")
            handler = handlers.get(self._opcode)
            if handler is not None:
                handler(argument)
            elif self._opcode == "STOP":
                break
            elif self._opcode in _REFUSED:
                shown = "" if argument is None else f" {one_line(repr(argument), 80)}"
                raise UnsafeFormatError(
                    f"{stream.name}: pickle {_REFUSED[self._opcode]} "
                    f"({self._opcode}{shown} at byte {self._offset}); nothing was executed"
                )
            elif isinstance(argument, (str, int, float)):
                self._push(argument, _weight(argument))
            else:
                self._push(Inert("data"), 64)
        if len(self._stack) != 1 or self._marks:
            raise self._malformed(f"ends with {len(self._stack)} values, expected one")
        self._memo.clear()
        return self._stack.pop()

    # Errors and limits

    @property
    def _where(self) -> str:
        return f"{self._stream.name}: pickle: {self._opcode} at byte {self._offset}"

    def _malformed(self, fault: str) -> MalformedFileError:
        return MalformedFileError(f"{self._where}: {fault}")

    def _named(self, name: Forbidden) -> UnsafeFormatError:
        return UnsafeFormatError(
            f"{self._stream.name}: pickle names {one_line(str(name), 160)} ({name.opcode} at byte {name.offset}), "
            "which no tensor needs; nothing was executed"
        )

    def _calls(self, name: object, verb: str = "calls") -> UnsafeFormatError:
        shown = one_line(str(name), 160) if isinstance(name, (Global, Forbidden)) else "a value of the file"
        return UnsafeFormatError(
            f"{self._stream.name}: pickle {verb} {shown} ({self._opcode} at byte {self._offset}); nothing was executed"
        )

    def _spend(self, steps: int, cost: int) -> None:
        self._steps += steps
        self._cost += cost
        if self._steps > MAX_STEPS or self._cost > self._most:
            raise UnsafeFormatError(
                f"{self._stream.name}: pickle of more instructions or values than any checkpoint has"
            )

    # Stack

    def _push(self, value: object, cost: int = 0) -> None:
        if len(self._stack) >= MAX_STACK:
            raise UnsafeFormatError(f"{self._where}: more than {MAX_STACK:,} values on the stack")
        self._cost += cost
        self._stack.append(value)

    def _take(self, count: int) -> list[object]:
        """The `count` values on top, bottom one first, none of them below the last mark."""
        floor = len(self._stack) - count
        if floor < (self._marks[-1] if self._marks else 0):
            raise self._malformed("the stack is empty")
        values = self._stack[floor:]
        del self._stack[floor:]
        return values

    def _top(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise self._malformed("the stack is empty")
        return self._stack[-1]

    def _to_mark(self) -> list[object]:
        if not self._marks:
            raise self._malformed("no mark on the stack")
        floor = self._marks.pop()
        values = self._stack[floor:]
        del self._stack[floor:]
        self._spend(len(values), 8 * len(values))
        return values

    def _mark(self, _: object) -> None:
        if len(self._marks) >= MAX_STACK:
            raise UnsafeFormatError(f"{self._where}: more than {MAX_STACK:,} marks")
        self._marks.append(len(self._stack))

    def _pop_one(self, _: object) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._take(1)

    def _pop_mark(self, _: object) -> None:
        self._to_mark()

    def _dup(self, _: object) -> None:
        self._push(self._top())

    def _nothing(self, _: object) -> None:
        pass

    def _protocol(self, number: object) -> None:
        if not isinstance(number, int) or number > MAX_PROTOCOL:
            raise self._malformed(f"protocol {number}, expected at most {MAX_PROTOCOL}")

    # Memo

    def _put(self, index: object) -> None:
        if not isinstance(index, int) or not 0 <= index <= MAX_MEMO_INDEX:
            raise self._malformed(f"memo index, expected 0 to {MAX_MEMO_INDEX}")
        self._memo[index] = self._top()
        self._spend(0, 90)

    def _get(self, index: object) -> None:
        if not isinstance(index, int) or index not in self._memo:
            raise self._malformed("nothing in the memo at this index")
        self._push(self._memo[index])

    # Containers

    def _tuple(self, values: list[object]) -> None:
        self._push(tuple(values), 56 + 8 * len(values))

    def _append(self, values: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise self._malformed("appends to what is no list")
        target.extend(values)
        self._spend(0, 16 * len(values))

    def _add(self, _: object) -> None:
        self._to_mark()
        target = self._top()
        if not isinstance(target, Inert) or target.kind != "set":
            raise self._malformed("adds to what is no set")

    def _frozen(self, _: object) -> None:
        self._to_mark()
        self._push(Inert("frozenset"), 64)

    def _dict(self, _: object) -> None:
        values = self._to_mark()
        self._push({}, 72)
        self._set(values)

    def _set(self, values: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise self._malformed("sets an item of what is no dict")
        if len(values) % 2:
            raise self._malformed("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Only text names a tensor. Other keys, whose hashes a file can make collide, are let go with their values.
            if isinstance(key, str):
                target[key] = value
                self._cost += 100

    # Names and calls

    def _global(self, pair: object) -> None:
        if not isinstance(pair, tuple):
            raise self._malformed("expected two lines")
        self._name(*pair)

    def _stack_global(self, _: object) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._calls(None, "imports a name that is")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        known: Global | Forbidden | None = GLOBALS.get((module, name))
        if known is None:
            known = Forbidden(module, name, self._opcode, self._offset)
            self._forbidden = self._forbidden or known
            self._cost += 200 + 4 * (len(module) + len(name))
        self._push(known)

    def _persistent(self, _: object) -> None:
        storage = storage_of(self._take(1)[0], self._legacy, self._where)
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.elements, known.problem) != (storage.dtype, storage.elements, storage.problem):
            raise self._malformed(f"storage {storage.key} is declared twice, with different sizes or types")
        self._push(known, 160 if known is storage else 0)

    def _reduce(self, _: object) -> None:
        function, arguments = self._take(2)
        if isinstance(function, Forbidden):
            raise self._calls(function)
        if not isinstance(function, Global):
            raise self._malformed("calls what is no function")
        if not isinstance(arguments, tuple):
            raise self._malformed("arguments, expected a tuple")
        pairs = len(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], list) else 0
        self._spend(pairs, 120 + 100 * pairs)
        self._push(call(function, arguments, self._where))

    def _build(self, _: object) -> None:
        (state,) = self._take(1)
        target = self._top()
        if isinstance(target, Inert) and target.kind == "numpy.dtype" and isinstance(state, tuple):
            return
        if isinstance(target, OrderedItems) and isinstance(state, dict) and state.keys() <= {"_metadata"}:
            return
        shown = next((k for k in state if k != "_metadata"), "") if isinstance(state, dict) else ""
        what = f"sets attribute {one_line(shown, 60)!r}" if shown else f"sets the state of {_kind(target)}"
        raise UnsafeFormatError(
            f"{self._stream.name}: pickle {what} (BUILD at byte {self._offset}); nothing was executed"
        )

    def _inst(self, pair: object) -> None:
        self._to_mark()
        module, name = pair if isinstance(pair, tuple) else ("", "")
        raise self._calls(Forbidden(module, name, self._opcode, self._offset))

    def _obj(self, _: object) -> None:
        values = self._to_mark()
        raise self._calls(values[0] if values else None)

    def _newobj(self, _: object) -> None:
        values = self._take(3 if self._opcode == "NEWOBJ_EX" else 2)
        raise self._calls(values[0])


def _weight(value: str | int | float) -> int:
    """Bytes of memory that a plain value takes, never too low."""
    if isinstance(value, str):
        return 64 + len(value) if value.isascii() else 80 + 4 * len(value)
    if isinstance(value, int):
        return 32 + value.bit_length() // 7
    return 24


def _kind(value: object) -> str:
    return one_line(str(value), 160) if isinstance(value, (Global, Forbidden)) else f"a {type(value).__name__}"
