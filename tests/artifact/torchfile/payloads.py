"""Pickle programs that would leave a file behind if anything ran them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .build import BUILD, EMPTY_DICT, EMPTY_TUPLE, NONE, REDUCE, listed, mapping, name, several, text


@dataclass(frozen=True)
class Payload:
    """A program that makes the file at a path; `words` stand in the error. `live`: plain unpickling runs it on any Python."""

    id: str
    program: Callable[[str], bytes]
    words: tuple[str, ...]
    live: bool = True


def _touch(path: str) -> str:
    return f"touch '{path}'"


def _code(path: str) -> str:
    return f"open({path!r}, 'w').close()"


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def _walk(path: str) -> bytes:
    """STACK_GLOBAL of protocol 4 walks dots: `torch._utils` holds a module named os in some versions."""
    return b"\x80\x04" + short("shutil") + short("os.system") + b"\x93" + several(text(_touch(path))) + REDUCE


def _setstate(path: str) -> bytes:
    """Puts `__setstate__` on an object, then calls it by a second BUILD."""
    first = (
        name("collections", "OrderedDict")
        + EMPTY_TUPLE
        + REDUCE
        + mapping({"__setstate__": name("os", "system")})
        + BUILD
    )
    return first + text(_touch(path)) + BUILD


def _dict_call(path: str) -> bytes:
    return mapping({"a": name("os", "system") + several(text(_touch(path))) + REDUCE})


def _from_memo(path: str) -> bytes:
    """The name goes to the memo, is thrown away, and is called from there."""
    return name("os", "system") + b"q\x050" + NONE + b"q\x000" + b"h\x05" + text(_touch(path)) + b"\x85" + REDUCE


def _behind_tensor(path: str) -> bytes:
    return (
        mapping({"w": NONE}) + b"q\x01" + b"0" + name("os", "system") + several(text(_touch(path))) + REDUCE + b"0h\x01"
    )


def _getattr(path: str) -> bytes:
    inner = name("builtins", "getattr") + several(name("os", "path"), text("os")) + REDUCE
    return name("builtins", "getattr") + several(inner, text("system")) + REDUCE + several(text(_touch(path))) + REDUCE


PAYLOADS = (
    Payload("reduce", lambda p: name("os", "system") + several(text(_touch(p))) + REDUCE, ("os.system", "REDUCE")),
    Payload("posix", lambda p: name("posix", "system") + several(text(_touch(p))) + REDUCE, ("posix.system", "REDUCE")),
    Payload(
        "protocol 0",
        lambda p: f"cos\nsystem\n(V{_touch(p)}\ntR".encode(),
        ("os.system", "REDUCE"),
    ),
    Payload(
        "stack global",
        lambda p: text("os") + text("system") + b"\x93" + several(text(_touch(p))) + REDUCE,
        ("os.system", "REDUCE"),
    ),
    Payload(
        "stack global from memo",
        lambda p: (
            text("system") + b"\x94" + text("os") + b"\x94" + b"00h\x01h\x00\x93" + several(text(_touch(p))) + REDUCE
        ),
        ("os.system", "REDUCE"),
    ),
    Payload("inst", lambda p: b"(" + text(_touch(p)) + b"ios\nsystem\n", ("os.system", "INST")),
    Payload("obj", lambda p: b"(" + name("os", "system") + text(_touch(p)) + b"o", ("os.system", "OBJ")),
    Payload(
        "newobj",
        lambda p: (
            name("subprocess", "Popen")
            + several(listed(text("touch"), text(p)))
            + b"\x81"
            + several(listed(text("touch"), text(p)))
            + b"b"
        ),
        ("subprocess.Popen", "NEWOBJ"),
        live=False,
    ),
    Payload(
        "newobj_ex",
        lambda p: name("subprocess", "Popen") + several(listed(text("touch"), text(p))) + EMPTY_DICT + b"\x92",
        ("subprocess.Popen", "NEWOBJ_EX"),
        live=False,
    ),
    Payload("build with setstate", _setstate, ("'__setstate__'", "BUILD")),
    Payload("ext1", lambda p: b"\x82\x07" + several(text(_touch(p))) + REDUCE, ("extension", "EXT1 7"), live=False),
    Payload(
        "ext2", lambda p: b"\x83\x07\x01" + several(text(_touch(p))) + REDUCE, ("extension", "EXT2 263"), live=False
    ),
    Payload("ext4", lambda p: b"\x84\x07\0\0\1" + several(text(_touch(p))) + REDUCE, ("EXT4 16777223",), live=False),
    Payload("persid", lambda p: f"P{_code(p)}\n".encode(), ("PERSID",), live=False),
    Payload("binpersid of text", lambda p: text(_code(p)) + b"Q", ("persistent id", "BINPERSID"), live=False),
    Payload(
        "persistent id of a module",
        lambda p: several(text("module"), name("os", "system"), text("x.py"), text(_code(p))) + b"Q",
        ("'module'", "BINPERSID"),
        live=False,
    ),
    Payload(
        "persistent id of a class",
        lambda p: several(text("storage"), name("os", "system"), text("0"), text(_touch(p)), b"K\x01") + b"Q",
        ("os.system",),
        live=False,
    ),
    Payload("buffer", lambda p: b"\x97", ("buffer", "NEXT_BUFFER"), live=False),
    Payload("eval", lambda p: name("builtins", "eval") + several(text(_code(p))) + REDUCE, ("builtins.eval",)),
    Payload("exec", lambda p: name("__builtin__", "exec") + several(text(_code(p))) + REDUCE, ("__builtin__.exec",)),
    Payload("getattr", _getattr, ("builtins.getattr", "REDUCE"), live=False),
    Payload("dotted walk", _walk, ("shutil.os.system", "REDUCE")),
    Payload(
        "dotted walk in torch",
        lambda p: (
            b"\x80\x04" + short("torch") + short("_utils.os.system") + b"\x93" + several(text(_touch(p))) + REDUCE
        ),
        ("torch._utils.os.system",),
        live=False,
    ),
    Payload(
        "allowed name split elsewhere",
        lambda p: name("torch._utils._rebuild_tensor_v2", "__globals__") + several(text(_touch(p))) + REDUCE,
        ("__globals__",),
        live=False,
    ),
    Payload(
        "storage name of another module",
        lambda p: name("os", "FloatStorage") + several(text(_touch(p))) + REDUCE,
        ("os.FloatStorage",),
        live=False,
    ),
    Payload(
        "load from bytes",
        lambda p: name("torch.storage", "_load_from_bytes") + several(b"C\x01.") + REDUCE,
        ("torch.storage._load_from_bytes",),
        live=False,
    ),
    Payload(
        "nested unpickling",
        lambda p: (
            name("_pickle", "loads") + several(_bytes(b"cos\nsystem\n(V" + _touch(p).encode() + b"\ntR.")) + REDUCE
        ),
        ("_pickle.loads",),
    ),
    Payload(
        "look-alike module",
        lambda p: name("t\u043erch._utils", "_rebuild_tensor_v2") + several(text(_touch(p))) + REDUCE,
        ("t\u043erch._utils",),
        live=False,
    ),
    Payload(
        "look-alike with a mark that turns text around",
        lambda p: name("torch\u202e", "FloatStorage") + several(text(_touch(p))) + REDUCE,
        ("torch\\u202e",),
        live=False,
    ),
    Payload("inside a state dict", _dict_call, ("os.system", "REDUCE")),
    Payload("from the memo", _from_memo, ("os.system", "REDUCE")),
    Payload("thrown away afterwards", _behind_tensor, ("os.system", "REDUCE")),
    Payload(
        "before a fault",
        lambda p: name("os", "system") + several(text(_touch(p))) + REDUCE + b"\xff",
        ("os.system", "REDUCE"),
    ),
    Payload(
        "import that runs a module",
        lambda p: name("antigravity", "x"),
        ("names antigravity.x", "GLOBAL"),
        live=False,
    ),
    Payload(
        "as a constructor's argument",
        lambda p: name("collections", "OrderedDict") + several(listed(name("os", "system"))) + REDUCE,
        ("os.system",),
        live=False,
    ),
    Payload(
        "storage class called",
        lambda p: name("torch", "FloatStorage") + several(b"J\xff\xff\xff\x7f") + REDUCE,
        ("torch.FloatStorage", "only be named"),
        live=False,
    ),
    Payload(
        "state of a tensor",
        lambda p: name("torch", "Size") + EMPTY_TUPLE + b"\x85" + REDUCE + mapping({"__setstate__": NONE}) + BUILD,
        ("__setstate__", "BUILD"),
        live=False,
    ),
)


def _bytes(value: bytes) -> bytes:
    return b"C" + bytes([len(value)]) + value
