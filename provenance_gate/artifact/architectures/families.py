"""Names as Hugging Face checkpoints have them. To add an architecture, add one `Architecture` to `FAMILIES`.

Where two tables name a checkpoint equally well, the first one counts.
"""

from __future__ import annotations

from provenance_gate.artifact.architectures.encoder_decoders import BART, T5, T5GEMMA, XGLM
from provenance_gate.artifact.architectures.encoders import BERT, DISTILBERT, ENCODERS
from provenance_gate.artifact.architectures.gpt import BLOOM_FALCON, GPT2, GPT_NEOX, GPTJ, MPT, PERSIMMON
from provenance_gate.artifact.architectures.llama import CHATGLM, INTERNLM2, LLAMA
from provenance_gate.artifact.architectures.recurrent import RECURRENT
from provenance_gate.artifact.architectures.table import Architecture

FAMILIES: tuple[Architecture, ...] = (
    LLAMA,
    T5GEMMA,
    INTERNLM2,
    GPT2,
    GPT_NEOX,
    BLOOM_FALCON,
    BERT,
    DISTILBERT,
    T5,
    CHATGLM,
    GPTJ,
    BART,
    PERSIMMON,
    XGLM,
    MPT,
    *RECURRENT,
    *ENCODERS,
)
