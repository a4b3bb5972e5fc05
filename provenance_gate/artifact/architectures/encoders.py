"""Names of encoders: BERT, RoBERTa, DistilBERT, ModernBERT, Nomic, MPNet, DeBERTa, ALBERT."""

from __future__ import annotations

from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
    NORM,
    UP,
    Architecture,
    Entry,
    K,
    O,
    Q,
    V,
    matrices,
    norms,
)
from provenance_gate.artifact.interface import Role

_EMBEDDINGS = (
    Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
    Entry("embeddings.position_embeddings", (Role.POSITION,)),
    Entry("embeddings.token_type_embeddings", (Role.POSITION,), part="token_type"),
    Entry("embeddings.LayerNorm", (NORM,), part="embeddings"),
)

BERT = Architecture(
    "bert",
    "encoder",
    (
        Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
        Entry("embeddings.position_embeddings", (Role.POSITION,)),
        Entry("embeddings.token_type_embeddings", (Role.POSITION,), part="token_type"),
        *matrices("encoder.layer.{L}.attention.self.", {"query": Q, "key": K, "value": V}),
        *matrices("encoder.layer.{L}.", {"attention.output.dense": O, "intermediate.dense": UP, "output.dense": DOWN}),
        Entry("encoder.layer.{L}.attention.output.LayerNorm", (NORM,), part="attention"),
        Entry("encoder.layer.{L}.output.LayerNorm", (NORM,), part="output"),
        Entry("embeddings.LayerNorm", (NORM,), part="embeddings"),
        Entry("cls.predictions.decoder", (Role.HEAD,)),
        Entry("cls.predictions.transform.dense", (Role.HEAD,), part="transform"),
        Entry("cls.predictions.transform.LayerNorm", (NORM,), part="head"),
        Entry("lm_head.decoder", (Role.HEAD,)),
        Entry("lm_head.dense", (Role.HEAD,), part="transform"),
        Entry("lm_head.layer_norm", (NORM,), part="head"),
        Entry("pooler.dense", (Role.HEAD,), part="pooler"),
    ),
)


DISTILBERT = Architecture(
    "distilbert",
    "encoder",
    (
        Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
        Entry("embeddings.position_embeddings", (Role.POSITION,)),
        *matrices("transformer.layer.{L}.attention.", {"q_lin": Q, "k_lin": K, "v_lin": V, "out_lin": O}),
        *matrices("transformer.layer.{L}.ffn.", {"lin1": UP, "lin2": DOWN}),
        Entry("transformer.layer.{L}.sa_layer_norm", (NORM,), part="attention"),
        Entry("transformer.layer.{L}.output_layer_norm", (NORM,), part="output"),
        Entry("embeddings.LayerNorm", (NORM,), part="embeddings"),
        Entry("vocab_projector", (Role.HEAD,)),
        Entry("vocab_transform", (Role.HEAD,), part="transform"),
        Entry("vocab_layer_norm", (NORM,), part="head"),
    ),
)


_MODERNBERT = Architecture(
    "modernbert",
    "encoder",
    (
        Entry("embeddings.tok_embeddings", (Role.EMBEDDING,)),
        Entry("decoder", (Role.HEAD,)),
        Entry("head.dense", (Role.HEAD,), part="transform"),
        Entry("layers.{L}.attn.Wqkv", (Q, K, V)),
        Entry("layers.{L}.mlp.Wi", (UP, GATE)),
        *matrices("layers.{L}.", {"attn.Wo": O, "mlp.Wo": DOWN}),
        *norms("layers.{L}.", ("attn_norm", "mlp_norm")),
        Entry("embeddings.norm", (NORM,), part="embeddings"),
        Entry("head.norm", (NORM,), part="head"),
        *norms("", ("final_norm",)),
    ),
)

_NOMIC = Architecture(
    "nomic_bert",
    "encoder",
    (
        *_EMBEDDINGS,
        Entry("cls.predictions.decoder", (Role.HEAD,)),
        Entry("cls.predictions.transform.dense", (Role.HEAD,), part="transform"),
        Entry("layers.{L}.attn.Wqkv", (Q, K, V)),
        *matrices("layers.{L}.", {"attn.out_proj": O, "mlp.fc11": UP, "mlp.fc12": GATE, "mlp.fc2": DOWN}),
        *norms("layers.{L}.", ("norm1", "norm2")),
        *norms("", ("emb_ln",)),
    ),
)

_MPNET = Architecture(
    "mpnet",
    "encoder",
    (
        *_EMBEDDINGS,
        Entry("lm_head.decoder", (Role.HEAD,)),
        Entry("lm_head.dense", (Role.HEAD,), part="transform"),
        Entry("lm_head.layer_norm", (NORM,), part="head"),
        *matrices("encoder.layer.{L}.attention.attn.", {"q": Q, "k": K, "v": V, "o": O}),
        *matrices("encoder.layer.{L}.", {"intermediate.dense": UP, "output.dense": DOWN}),
        Entry("encoder.layer.{L}.attention.LayerNorm", (NORM,), part="attention"),
        Entry("encoder.layer.{L}.output.LayerNorm", (NORM,), part="output"),
        Entry("encoder.relative_attention_bias", (Role.POSITION,), part="relative"),
    ),
)

_DEBERTA = Architecture(
    "deberta",
    "encoder",
    (
        *_EMBEDDINGS,
        *matrices("encoder.layer.{L}.attention.self.", {"query_proj": Q, "key_proj": K, "value_proj": V}),
        *matrices("encoder.layer.{L}.attention.self.", {"pos_key_proj": K, "pos_query_proj": Q}, part="position"),
        Entry("encoder.layer.{L}.attention.self.in_proj", (Q, K, V)),
        *matrices("encoder.layer.{L}.", {"attention.output.dense": O, "intermediate.dense": UP, "output.dense": DOWN}),
        Entry("encoder.layer.{L}.attention.output.LayerNorm", (NORM,), part="attention"),
        Entry("encoder.layer.{L}.output.LayerNorm", (NORM,), part="output"),
        Entry("encoder.rel_embeddings", (Role.POSITION,), part="relative"),
        Entry("encoder.LayerNorm", (NORM,), part="relative"),
        Entry("cls.predictions.decoder", (Role.HEAD,)),
        Entry("cls.predictions.transform.dense", (Role.HEAD,), part="transform"),
        Entry("cls.predictions.transform.LayerNorm", (NORM,), part="head"),
        Entry("lm_predictions.lm_head.dense", (Role.HEAD,), part="transform"),
    ),
)

# One layer, run many times; wider models have groups of them.
_ALBERT = Architecture(
    "albert",
    "encoder",
    (
        *_EMBEDDINGS,
        Entry("encoder.embedding_hidden_mapping_in", (Role.EMBEDDING,), part="projection"),
        *matrices(
            "albert_layer_groups.{L}.albert_layers.{E}.",
            {"attention.query": Q, "attention.key": K, "attention.value": V, "attention.dense": O},
        ),
        *matrices("albert_layer_groups.{L}.albert_layers.{E}.", {"ffn": UP, "ffn_output": DOWN}),
        Entry("albert_layer_groups.{L}.albert_layers.{E}.attention.LayerNorm", (NORM,), part="attention"),
        Entry("albert_layer_groups.{L}.albert_layers.{E}.full_layer_layer_norm", (NORM,), part="output"),
        Entry("predictions.dense", (Role.HEAD,), part="transform"),
        Entry("predictions.decoder", (Role.HEAD,)),
        Entry("predictions.LayerNorm", (NORM,), part="head"),
    ),
)

ENCODERS: tuple[Architecture, ...] = (_MODERNBERT, _NOMIC, _MPNET, _DEBERTA, _ALBERT)
