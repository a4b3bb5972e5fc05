"""What a model is, once read: values that later rooms may keep. Nothing here opens a file.

An `Artifact` is an inventory of files, the claims its publisher makes, parsed config and tokenizer facts, the **stored
tensors** as the files name them, and the **canonical tensors**: views on stored ones with a role, a layer and the
orientation (out x in), from which row ranges are read as float32 without reading the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import NewType, Protocol

import numpy as np
from numpy.typing import NDArray

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A value that could not be had, and why. It travels to the report; it is never 0, None or NaN."""

    reason: str


class FileKind(str, Enum):
    """What a file of a model folder is for."""

    WEIGHTS = "weights"
    INDEX = "index"
    CONFIG = "config"
    TOKENIZER = "tokenizer"
    CARD = "card"
    LICENSE = "license"
    OTHER = "other"


class WeightFormat(str, Enum):
    """Container of a weight file, told by suffix and first bytes. `PICKLE` covers .bin, .pt, .pth, .pkl, .ckpt."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    PICKLE = "pickle"
    ONNX = "onnx"
    HDF5 = "hdf5"
    NUMPY = "numpy"
    MSGPACK = "msgpack"
    TFLITE = "tflite"
    LFS_POINTER = "git-lfs-pointer"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the artifact. `sha256` is NotMeasured until digests were asked for.

    `declared`: the digest is what the hub (or a Git LFS pointer) states; the bytes were not hashed here.
    """

    path: PurePosixPath
    size: int
    kind: FileKind
    format: WeightFormat | None = None
    sha256: Sha256 | NotMeasured = NotMeasured("digests were not asked for")
    declared: bool = False


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """Where a claim stands: file, line (from 1) and field."""

    path: PurePosixPath
    line: int
    field: str


@dataclass(frozen=True, slots=True)
class BaseClaim:
    """The publisher says: this model comes from `id`. Not evidence.

    `relation` is one of finetune, adapter, merge, quantized or None when unsaid; `revision` as written or None.
    """

    id: str
    relation: str | None
    revision: str | None
    source: ClaimSource


@dataclass(frozen=True, slots=True)
class LicenseClaim:
    """The publisher says: this model is under `id` (hub id or SPDX id; `other` comes with name and link)."""

    id: str
    name: str | None
    link: str | None
    source: ClaimSource


@dataclass(frozen=True, slots=True)
class Claims:
    """All that the publisher says about origin, in the order of CONVENTIONS 9 (card, adapter, mergekit, config)."""

    bases: tuple[BaseClaim, ...] = ()
    licenses: tuple[LicenseClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The facts of config.json that later rooms use, spelled alike for all architectures. None: the file does not say.

    Integers are checked to lie in [0, 2**31).
    """

    model_type: str | None = None
    architectures: tuple[str, ...] = ()
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    num_experts: int | None = None
    hidden_act: str | None = None
    norm_type: str | None = None
    position_type: str | None = None
    rope_theta: float | None = None
    rope_scaling_type: str | None = None
    attention_bias: bool | None = None
    qk_norm: bool | None = None
    tie_word_embeddings: bool | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    torch_dtype: str | None = None
    quant_method: str | None = None
    name_or_path: str | None = None
    transformers_version: str | None = None


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What tokenizer.json and tokenizer_config.json say.

    Attributes
    ----------
    tokens
        64-bit BLAKE2b digests of the token strings (UTF-8), shape (n,), dtype uint64, sorted and unique.
    token_ids
        The ids of `tokens`, in their order, shape (n,), dtype int64, in [0, 2**31).
    vocabulary_sha256
        Digest of the sorted (token, id) pairs: equal exactly when the vocabularies are.
    script_shares
        Share of alphabetic characters per script, over all token strings; keys Latin, CJK, Cyrillic, Arabic, Devanagari, Other.
    first_ids
        For each anchor string of the reference definition (digits, punctuation, the word lists of five scripts) the first
        id that the tokenizer gives it without special tokens; strings that encode to nothing are left out.
    """

    class_name: str | None
    model: str | None
    vocab_size: int
    tokens: NDArray[np.uint64]
    token_ids: NDArray[np.int64]
    vocabulary_sha256: Sha256
    special_ids: Mapping[str, int | None]
    num_merges: int
    first_merges_sha256: Sha256
    merges_sha256: Sha256
    mean_token_length: float
    space_mark_share: float
    script_shares: Mapping[str, float]
    has_byte_tokens: bool
    first_ids: Mapping[str, int]


class Role(str, Enum):
    """What a canonical tensor does. Values are stable: they stand in fingerprint files."""

    EMBEDDING = "embedding"
    POSITION = "position"
    HEAD = "head"
    ATTENTION_Q = "attention_q"
    ATTENTION_K = "attention_k"
    ATTENTION_V = "attention_v"
    ATTENTION_O = "attention_o"
    FFN_GATE = "ffn_gate"
    FFN_UP = "ffn_up"
    FFN_DOWN = "ffn_down"
    EXPERT_GATE = "expert_gate"
    EXPERT_UP = "expert_up"
    EXPERT_DOWN = "expert_down"
    ROUTER = "router"
    NORM = "norm"
    BIAS = "bias"
    OTHER = "other"


class Component(str, Enum):
    """Groups of roles that `Lineage.components` reports on."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    FEED_FORWARD = "feed_forward"
    EXPERTS = "experts"
    NORMS = "norms"
    HEAD = "head"


COMPONENT_OF_ROLE: Mapping[Role, Component] = {
    Role.EMBEDDING: Component.EMBEDDINGS,
    Role.POSITION: Component.EMBEDDINGS,
    Role.HEAD: Component.HEAD,
    Role.ATTENTION_Q: Component.ATTENTION,
    Role.ATTENTION_K: Component.ATTENTION,
    Role.ATTENTION_V: Component.ATTENTION,
    Role.ATTENTION_O: Component.ATTENTION,
    Role.FFN_GATE: Component.FEED_FORWARD,
    Role.FFN_UP: Component.FEED_FORWARD,
    Role.FFN_DOWN: Component.FEED_FORWARD,
    Role.EXPERT_GATE: Component.EXPERTS,
    Role.EXPERT_UP: Component.EXPERTS,
    Role.EXPERT_DOWN: Component.EXPERTS,
    Role.ROUTER: Component.EXPERTS,
    Role.NORM: Component.NORMS,
}


class TensorReader(Protocol):
    """Reads elements of one stored tensor. Implemented once per weight format."""

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Elements [start, start + count) in stored (row-major) order as float32, shape (count,).

        Raises ArtifactError when the bytes are not there or the file changed since it was opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as its file has it. `dtype` is the safetensors spelling (F32, BF16, F8_E4M3 ...); `nbytes` as stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    path: PurePosixPath
    reader: TensorReader

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True, slots=True)
class TensorKey:
    """Which tensor of the model this is, whatever its file calls it.

    `stack` is "decoder" or "encoder" (one-stack models: "decoder" for causal ones, "encoder" for BERT kin); `layer` is
    None outside of the layers; `part` tells apart what role and layer do not ("self"/"cross" attention, the name of a norm
    or bias, "0".."n" for experts).
    """

    role: Role
    stack: str
    layer: int | None
    part: str = ""

    @property
    def expert(self) -> int | None:
        """The number of the expert that `part` names; None where it names none."""
        named = self.part.isascii() and self.part.isdecimal() and len(self.part) <= 6
        return int(self.part) if named else None

    def __str__(self) -> str:
        layer = "-" if self.layer is None else str(self.layer)
        return f"{self.stack}/{layer}/{self.role.value}/{self.part}"


class Lies(Enum):
    """How a matrix lies in its file, and so what is cheap to read of it."""

    ROWS = "rows"
    """The values of a row lie together."""
    COLUMNS = "columns"
    """It is stored turned (in x out), or packed so: a row is spread over the whole tensor, and some columns lie together."""
    SCATTERED = "scattered"
    """As COLUMNS, and what scales a column lies anywhere in its table (GPTQ in activation order)."""


class CanonicalTensor(Protocol):
    """A view with a role. `shape` is (out, in) for matrices, (n,) for vectors."""

    @property
    def key(self) -> TensorKey: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def stored(self) -> StoredTensor: ...
    @property
    def keeps_order(self) -> bool:
        """Whether its elements, row by row, are all those of the stored tensor in the stored order."""
        ...

    def read_rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) as float32, shape (stop - start, in); for a vector its elements [start, stop)."""
        ...

    @property
    def lies(self) -> Lies:
        """What is cheap to read; ROWS for a vector."""
        ...

    def read_block(self, rows: range, columns: range) -> NDArray[np.float32]:
        """Part of a matrix as float32, shape (len(rows), len(columns)); cheap for a few columns that do not lie in ROWS.

        `columns` starts at a multiple of 32 and ends at one, or with the last column.
        """
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """One model as found.

    Attributes
    ----------
    name
        Last part of the path it was opened from, as the user wrote it; for display.
    files
        Every file below the root, sorted by path.
    stored
        Stored tensors sorted by name. Empty when the folder holds no readable weights (an adapter card, say).
    canonical
        Views sorted by key. A stored tensor that fits no role appears with role OTHER.
    roles_from
        "names" when the architecture table named the roles, "shapes" when only shapes and order did.
    notes
        What a reader should know: unreadable weight formats, fused tensors that the config could not explain ...
    """

    name: str
    files: tuple[FileRecord, ...]
    claims: Claims
    config: ModelConfig | NotMeasured
    tokenizer: TokenizerFacts | NotMeasured
    stored: tuple[StoredTensor, ...]
    canonical: tuple[CanonicalTensor, ...]
    roles_from: str
    notes: tuple[str, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all stored tensors."""
        return sum(t.nbytes for t in self.stored)

    @property
    def parameters(self) -> int:
        """Number of elements of all stored tensors."""
        return sum(t.size for t in self.stored)


def weight_formats(files: Sequence[FileRecord]) -> tuple[WeightFormat, ...]:
    """The distinct weight formats among `files`, sorted by value."""
    return tuple(sorted({f.format for f in files if f.format is not None}, key=lambda f: f.value))
