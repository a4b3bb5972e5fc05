"""What allowed calls of a checkpoint's pickle program stand for: tensor descriptors, plain containers, or nothing.

Signatures are those of `torch._utils` (torch 0.4 to 2.x) and of `torch.serialization`'s persistent ids.
"""

from __future__ import annotations

import re
from dataclasses import replace

from provenance_gate.artifact.torchfile.values import (
    ITEM_BYTES,
    Call,
    Forbidden,
    Global,
    Inert,
    OrderedItems,
    Storage,
    TensorView,
)
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAX_DIMENSIONS = 16
LARGEST = 2**63 - 1
_MAX_KEY = 64
_DEVICE = re.compile(r"[a-z]{1,16}(:[0-9]{1,4})?")


def call(function: Global, arguments: tuple[object, ...], where: str) -> object:
    """The value that stands for `function(*arguments)`; nothing is called.

    Parameters
    ----------
    where
        File, instruction and offset, for messages.

    Raises
    ------
    MalformedFileError
        The arguments are not those that `torch.save` writes.
    UnsafeFormatError
        The name is allowed, but not to be called.
    """
    match function.call:
        case Call.TENSOR | Call.TENSOR_V3 | Call.QUANTIZED:
            return _tensor(function, arguments, where)
        case Call.PARAMETER:
            if arguments and isinstance(arguments[0], TensorView):
                return arguments[0]
            raise MalformedFileError(f"{where}: {function} without a tensor")
        case Call.ORDERED_DICT:
            return _ordered(arguments, where)
        case Call.SIZE:
            return sizes(arguments[0] if len(arguments) == 1 else None, f"{where}: torch.Size")
        case Call.INERT:
            return Inert(str(function))
        case Call.STORAGE | Call.DTYPE | Call.CONSTANT:
            raise UnsafeFormatError(f"{where} calls {function}, which may only be named; nothing was executed")


def _ordered(arguments: tuple[object, ...], where: str) -> OrderedItems:
    """Without arguments, or with one list of pairs (Python 2). Keys that are not text are left out."""
    if not arguments:
        return OrderedItems()
    pairs = arguments[0]
    if len(arguments) != 1 or not isinstance(pairs, list):
        raise MalformedFileError(f"{where}: collections.OrderedDict, expected one list of pairs")
    items = OrderedItems()
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise MalformedFileError(f"{where}: collections.OrderedDict, expected one list of pairs")
        if isinstance(pair[0], str):
            items[pair[0]] = pair[1]
    return items


def sizes(value: object, where: str) -> tuple[int, ...]:
    """A tuple of at most `MAX_DIMENSIONS` integers in [0, 2**63)."""
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        raise MalformedFileError(f"{where}: expected a tuple of at most {MAX_DIMENSIONS} integers")
    if not all(_is_count(n) for n in value):
        raise MalformedFileError(f"{where}: expected integers from 0 to 2**63 - 1")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _tensor(function: Global, arguments: tuple[object, ...], where: str) -> TensorView:
    where = f"{where}: {function.name}"
    if not 4 <= len(arguments) <= 8:
        raise MalformedFileError(f"{where} with {len(arguments)} arguments, expected 4 to 8")
    storage, offset = arguments[:2]
    if not isinstance(storage, Storage):
        raise MalformedFileError(f"{where}: storage: expected one that the file declares")
    if not isinstance(offset, int) or not _is_count(offset):
        raise MalformedFileError(f"{where}: storage offset: expected an integer from 0 to 2**63 - 1")
    shape, stride = sizes(arguments[2], f"{where}: shape"), sizes(arguments[3], f"{where}: stride")
    if len(shape) != len(stride):
        raise MalformedFileError(f"{where}: {len(shape)} dimensions in its shape, {len(stride)} in its stride")
    count = 1
    for extent in shape:
        count *= extent
        if count > LARGEST:
            raise MalformedFileError(f"{where}: shape has more than 2**63 elements")
    view = TensorView(storage, storage.dtype, offset, shape, stride, storage.problem)
    return _finish(function, arguments, view, where)


def _finish(function: Global, arguments: tuple[object, ...], view: TensorView, where: str) -> TensorView:
    """Dtype and the properties that change what the stored numbers mean."""
    last = len(arguments) - 1
    if function.call is Call.TENSOR_V3:
        dtype = arguments[6] if last >= 6 else None
        if view.storage.dtype or not isinstance(dtype, Global) or dtype.call is not Call.DTYPE:
            raise MalformedFileError(f"{where}: expected an untyped storage and a dtype")
        view = replace(view, dtype=dtype.dtype)
    elif not view.dtype:
        raise MalformedFileError(f"{where}: its storage has no dtype")
    if function.call is Call.QUANTIZED:
        return replace(view, problem="quantized by torch (_rebuild_qtensor), which is not read")
    metadata = 7 if function.call is Call.TENSOR_V3 else 6
    if last >= metadata and arguments[metadata] not in (None, {}):
        # Lazy conjugation and negation: the stored numbers are not the tensor's.
        return replace(view, problem="has metadata (a lazy conjugate or negative), which is not read")
    return view


def storage_of(saved_id: object, legacy: bool, where: str) -> Storage:
    """The storage that a persistent id declares.

    ``("storage", class, key, location, elements)``; the layout before torch 1.6 adds a view (None, or key, offset, size).
    """
    if not isinstance(saved_id, tuple) or not saved_id or not isinstance(saved_id[0], str):
        raise UnsafeFormatError(f"{where}: a persistent id that is no tuple; nothing was executed")
    if saved_id[0] != "storage":
        kind = one_line(saved_id[0], 40)
        raise UnsafeFormatError(f"{where}: a persistent id of kind {kind!r}, expected storage; nothing was executed")
    if len(saved_id) != 5 + legacy:
        raise MalformedFileError(f"{where}: a storage of {len(saved_id)} fields, expected {5 + legacy}")
    _, kind, key, location, elements = saved_id[:5]
    if isinstance(kind, Forbidden):
        raise UnsafeFormatError(
            f"{where}: storage class {kind} is not on the list of allowed names; nothing was executed"
        )
    if not isinstance(kind, Global) or kind.call is not Call.STORAGE:
        raise MalformedFileError(f"{where}: expected a storage class")
    if not isinstance(key, str) or not key.isascii() or not key.isdigit() or len(key) > _MAX_KEY:
        raise MalformedFileError(f"{where}: storage key, expected at most {_MAX_KEY} digits")
    if not isinstance(location, str) or not _DEVICE.fullmatch(location):
        raise MalformedFileError(f"{where}: storage location, expected a device as cpu or cuda:0")
    if location == "meta":
        # Loaders give such tensors no values, whatever lies in the file.
        raise MalformedFileError(f"{where}: storage location meta, which holds no values")
    if not isinstance(elements, int) or not _is_count(elements) or elements * ITEM_BYTES.get(kind.dtype, 1) > LARGEST:
        raise MalformedFileError(f"{where}: storage size, expected an integer from 0, below 2**63 bytes")
    problem = "quantized by torch, which is not read" if kind.name.startswith("Q") else ""
    if legacy and saved_id[5] is not None:
        problem = "a view of a storage, which is not read"
    return Storage(key, kind.dtype, elements, problem)
