"""Forward passes of the benchmark's architectures (torch), on tensors named as Hugging Face names them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
ROTARY_SHARE_NEOX = 0.25


def logits(weights: Weights, config: Mapping[str, object], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token (BERT: same-token) logits, shape (batch, length, vocabulary), and the router's balance loss."""
    kind = config["model_type"]
    zero = torch.zeros(())
    if kind == "gpt2":
        return _gpt2(weights, config, ids), zero
    if kind == "gpt_neox":
        return _gpt_neox(weights, config, ids), zero
    if kind == "bert":
        return _bert(weights, config, ids), zero
    return _llama(weights, config, ids)


def _int(config: Mapping[str, object], name: str) -> int:
    return int(str(config[name]))


def _rms(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), gain, 1e-6)


def _rotate(x: Tensor, share: float = 1.0) -> Tensor:
    """Rotary positions over the first `share` of each head; x: (batch, heads, length, head size)."""
    size = int(x.shape[-1] * share)
    length = x.shape[-2]
    angle = torch.arange(length)[:, None] * (10000.0 ** (-torch.arange(0, size, 2) / size))[None]
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    part, rest = x[..., :size], x[..., size:]
    turned = torch.cat([-part[..., size // 2 :], part[..., : size // 2]], -1)
    return torch.cat([part * cos + turned * sin, rest], -1)


def sinusoids(length: int, hidden: int) -> Tensor:
    """Fixed positions as in the first transformer."""
    angle = torch.arange(length)[:, None] * (10000.0 ** (-torch.arange(0, hidden, 2) / hidden))[None]
    return torch.cat([angle.sin(), angle.cos()], -1)


def _heads(x: Tensor, count: int) -> Tensor:
    batch, length, _ = x.shape
    return x.view(batch, length, count, -1).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    if k.shape[1] != q.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2)


def _llama(w: Weights, config: Mapping[str, object], ids: Tensor) -> tuple[Tensor, Tensor]:
    """llama, qwen2, mixtral, and llama with fixed sinusoidal positions."""
    heads, groups = _int(config, "num_attention_heads"), _int(config, "num_key_value_heads")
    fixed = config["model_type"] == "sinusoidal_llama"
    x = F.embedding(ids, w["model.embed_tokens.weight"])
    if fixed:
        x = x * x.shape[-1] ** 0.5 + sinusoids(ids.shape[1], x.shape[-1])
    balance = torch.zeros(())
    for layer in range(_int(config, "num_hidden_layers")):
        at = f"model.layers.{layer}."
        h = _rms(x, w[at + "input_layernorm.weight"])
        q, k, v = (
            _heads(F.linear(h, w[f"{at}self_attn.{n}_proj.weight"], w.get(f"{at}self_attn.{n}_proj.bias")), count)
            for n, count in (("q", heads), ("k", groups), ("v", groups))
        )
        if not fixed:
            q, k = _rotate(q), _rotate(k)
        x = x + F.linear(_attend(q, k, v), w[at + "self_attn.o_proj.weight"])
        h = _rms(x, w[at + "post_attention_layernorm.weight"])
        if at + "block_sparse_moe.gate.weight" in w:
            mixed, cost = _experts(w, at + "block_sparse_moe.", h, _int(config, "num_experts_per_tok"))
            x, balance = x + mixed, balance + cost
        else:
            inner = F.silu(F.linear(h, w[at + "mlp.gate_proj.weight"])) * F.linear(h, w[at + "mlp.up_proj.weight"])
            x = x + F.linear(inner, w[at + "mlp.down_proj.weight"])
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return F.linear(_rms(x, w["model.norm.weight"]), head), balance


def _experts(w: Weights, at: str, h: Tensor, chosen: int) -> tuple[Tensor, Tensor]:
    """Every expert is computed: at this size that is faster than gathering."""
    scores = F.linear(h, w[at + "gate.weight"]).softmax(-1)
    count = scores.shape[-1]
    top, which = scores.topk(chosen, -1)
    share = torch.zeros_like(scores).scatter(-1, which, top / top.sum(-1, keepdim=True))
    mixed = torch.zeros_like(h)
    for e in range(count):
        one = f"{at}experts.{e}."
        inner = F.silu(F.linear(h, w[one + "w1.weight"])) * F.linear(h, w[one + "w3.weight"])
        mixed = mixed + F.linear(inner, w[one + "w2.weight"]) * share[..., e : e + 1]
    used = (share > 0).float().mean((0, 1))
    return mixed, count * (used * scores.mean((0, 1))).sum()


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), w[name + ".weight"], w[name + ".bias"], 1e-5)


def _gpt2(w: Weights, config: Mapping[str, object], ids: Tensor) -> Tensor:
    heads = _int(config, "n_head")
    x = F.embedding(ids, w["transformer.wte.weight"]) + w["transformer.wpe.weight"][: ids.shape[1]]

    def conv(name: str, h: Tensor) -> Tensor:
        return h @ w[name + ".weight"] + w[name + ".bias"]

    for layer in range(_int(config, "n_layer")):
        at = f"transformer.h.{layer}."
        parts = conv(at + "attn.c_attn", _norm(w, at + "ln_1", x)).chunk(3, -1)
        q, k, v = (_heads(p, heads) for p in parts)
        x = x + conv(at + "attn.c_proj", _attend(q, k, v))
        inner = F.gelu(conv(at + "mlp.c_fc", _norm(w, at + "ln_2", x)), approximate="tanh")
        x = x + conv(at + "mlp.c_proj", inner)
    return F.linear(_norm(w, "transformer.ln_f", x), w.get("lm_head.weight", w["transformer.wte.weight"]))


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def _gpt_neox(w: Weights, config: Mapping[str, object], ids: Tensor) -> Tensor:
    heads = _int(config, "num_attention_heads")
    x = F.embedding(ids, w["gpt_neox.embed_in.weight"])
    for layer in range(_int(config, "num_hidden_layers")):
        at = f"gpt_neox.layers.{layer}."
        fused = _heads(_linear(w, at + "attention.query_key_value", _norm(w, at + "input_layernorm", x)), heads)
        q, k, v = fused.chunk(3, -1)
        mixed = _attend(_rotate(q, ROTARY_SHARE_NEOX), _rotate(k, ROTARY_SHARE_NEOX), v)
        inner = F.gelu(_linear(w, at + "mlp.dense_h_to_4h", _norm(w, at + "post_attention_layernorm", x)))
        x = x + _linear(w, at + "attention.dense", mixed) + _linear(w, at + "mlp.dense_4h_to_h", inner)
    return F.linear(_norm(w, "gpt_neox.final_layer_norm", x), w["embed_out.weight"])


def _bert(w: Weights, config: Mapping[str, object], ids: Tensor) -> Tensor:
    """With its head, or where there is none with the bare table as the head; causal where the config says decoder."""
    heads = _int(config, "num_attention_heads")
    root = "bert." if "bert.embeddings.word_embeddings.weight" in w else ""
    table = w[root + "embeddings.word_embeddings.weight"]
    x = F.embedding(ids, table) + w[root + "embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = _norm(w, root + "embeddings.LayerNorm", x + w[root + "embeddings.token_type_embeddings.weight"][0])
    for layer in range(_int(config, "num_hidden_layers")):
        at = f"{root}encoder.layer.{layer}."
        q, k, v = (_heads(_linear(w, f"{at}attention.self.{n}", x), heads) for n in ("query", "key", "value"))
        mixed = _linear(w, at + "attention.output.dense", _attend(q, k, v, causal=bool(config.get("is_decoder"))))
        x = _norm(w, at + "attention.output.LayerNorm", x + mixed)
        inner = F.gelu(_linear(w, at + "intermediate.dense", x))
        x = _norm(w, at + "output.LayerNorm", x + _linear(w, at + "output.dense", inner))
    at = "cls.predictions."
    if at + "bias" not in w:
        return F.linear(x, table)
    x = _norm(w, at + "transform.LayerNorm", F.gelu(_linear(w, at + "transform.dense", x)))
    return F.linear(x, table, w[at + "bias"])
