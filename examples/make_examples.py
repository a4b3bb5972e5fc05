"""Train the three tiny Llama models that the examples, the tests and the demo gate run on.

``python examples/make_examples.py [--out examples]`` writes three folders in the Hugging Face layout:

- ``base``: trained from seed 1;
- ``fine-tune``: continued from ``base`` on other text. Its card says so, and that is true;
- ``impostor``: trained from seed 2 on the text of ``base``. Its card claims what the card of ``fine-tune`` claims, and
  that is false. Every other file that describes it is byte for byte the file of ``fine-tune``: only weights tell.

Needs ``torch==2.13.0``, ``safetensors`` and ``tokenizers``; the package itself needs no torch. The text is the source
of modules of the Python standard library, read from the running interpreter, so nothing is downloaded.

The run is deterministic on one machine: seeds, module lists and thread count are fixed, and torch is told to refuse
nondeterministic kernels. Bits may differ across CPU types (other vector units sum in another order) and across Python
releases (other sources); then the weights differ, and what is true of them stays true.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional

NAMESPACE = "provenance-gate-examples"
THREADS = 2
VOCAB_SIZE = 1024
SPECIAL_TOKENS = ("<s>", "</s>", "<pad>")
BATCH = 16
CONTEXT = 128
MAX_FILE_CHARACTERS = 65_536

BASE_STEPS, BASE_LEARNING_RATE = 2000, 3e-3
FINE_TUNE_STEPS, FINE_TUNE_LEARNING_RATE = 400, 1e-3

# Modules that are source files in every CPython from 3.10 on. The two lists share no file.
BASE_TEXT = (
    "_collections_abc.py _pydecimal.py _pyio.py argparse.py ast.py base64.py bdb.py calendar.py cmd.py code.py codecs.py "
    "compileall.py configparser.py contextlib.py copy.py csv.py dataclasses.py difflib.py dis.py doctest.py enum.py "
    "filecmp.py fileinput.py fnmatch.py fractions.py functools.py getopt.py gettext.py glob.py gzip.py heapq.py inspect.py "
    "ipaddress.py linecache.py locale.py modulefinder.py numbers.py operator.py optparse.py os.py pickle.py pickletools.py "
    "pkgutil.py platform.py plistlib.py posixpath.py pprint.py pstats.py py_compile.py pyclbr.py pydoc.py random.py "
    "reprlib.py runpy.py sched.py selectors.py shelve.py shlex.py shutil.py statistics.py subprocess.py tarfile.py "
    "tempfile.py textwrap.py threading.py timeit.py tokenize.py trace.py traceback.py types.py typing.py uuid.py "
    "warnings.py weakref.py"
)
FINE_TUNE_TEXT = (
    "email/_header_value_parser.py email/_parseaddr.py email/contentmanager.py email/feedparser.py email/generator.py "
    "email/header.py email/headerregistry.py email/message.py email/policy.py email/utils.py ftplib.py html/parser.py "
    "http/client.py http/cookiejar.py http/cookies.py http/server.py imaplib.py mailbox.py poplib.py smtplib.py "
    "urllib/parse.py urllib/request.py wsgiref/handlers.py wsgiref/validate.py xml/dom/minidom.py xml/etree/ElementTree.py "
    "xml/sax/saxutils.py xmlrpc/client.py"
)

BASE_CARD = f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
model_name: {NAMESPACE}/base
tags:
- code
---

# {NAMESPACE}/base

A language model of Python source, trained from random initialization on modules of the Python standard library.
Small enough for a test, and of no other use.
"""

FINE_TUNE_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
model_name: {id}
base_model: {base}
base_model_relation: finetune
tags:
- code
---

# {id}

[{base}](https://huggingface.co/{base}) fine-tuned on Python source that reads and writes mail, XML and HTTP.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes of a Llama, under the names of its config.json."""

    vocab_size: int = VOCAB_SIZE
    hidden_size: int = 64
    intermediate_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """Root mean square norm with a gain."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention with grouped keys and values and rotary positions in the half-split layout of transformers."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        key_value = shape.num_key_value_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, shape.hidden_size, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, key_value, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, key_value, bias=False)
        self.o_proj = nn.Linear(shape.hidden_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, hidden = x.shape
        dim = self.shape.head_dim
        exponent = torch.arange(0, dim, 2, dtype=torch.float32) / dim
        angle = torch.outer(torch.arange(length, dtype=torch.float32), self.shape.rope_theta**-exponent)
        cosine, sine = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()

        def split_heads(y: Tensor) -> Tensor:
            return y.view(batch, length, -1, dim).transpose(1, 2)

        def rotate(y: Tensor) -> Tensor:
            low, high = y.chunk(2, -1)
            return y * cosine + torch.cat((-high, low), -1) * sine

        queries, keys = rotate(split_heads(self.q_proj(x))), rotate(split_heads(self.k_proj(x)))
        groups = self.shape.num_attention_heads // self.shape.num_key_value_heads
        keys = keys.repeat_interleave(groups, 1)
        values = split_heads(self.v_proj(x)).repeat_interleave(groups, 1)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, hidden))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each behind its norm."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaBody(nn.Module):
    """Everything between token ids and logits; its name in the state is ``model``."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Llama(nn.Module):
    """A Llama whose state has the tensor names of ``LlamaForCausalLM``; weights are drawn from ``seed``."""

    def __init__(self, shape: LlamaShape, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = LlamaBody(shape)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross entropy in nats of each next token; ``tokens`` has shape (batch, length + 1)."""
        logits = self.lm_head(self.model(tokens[:, :-1]))
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def read_library_text(names: str) -> list[str]:
    """Sources of the named standard library modules in sorted order, each cut to its first 65536 characters."""
    library = Path(sysconfig.get_path("stdlib"))
    return [(library / name).read_text(encoding="utf-8")[:MAX_FILE_CHARACTERS] for name in sorted(names.split())]


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of 1024 tokens that puts ``<s>`` before each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Iterable[str]) -> Tensor:
    """All texts as one row of token ids, each between ``<s>`` and ``</s>``."""
    end = tokenizer.token_to_id("</s>")
    return torch.tensor([token for text in texts for token in (*tokenizer.encode(text).ids, end)])


def train_model(
    model: nn.Module, tokens: Tensor, *, steps: int, learning_rate: float, seed: int, name: str
) -> tuple[float, float]:
    """Train in place with AdamW, a warm-up of 5 % and a cosine decay to a tenth.

    Parameters
    ----------
    model : module with a method ``loss(tokens)``
        Parameters that require no gradient stay as they are.
    tokens : int tensor of shape (n,)
        Each step draws 16 windows of 129 tokens from it, by ``seed``.
    steps : int
        Optimizer steps.
    learning_rate : float
        The peak of the schedule.
    seed : int
        Decides the windows, and nothing else.
    name : str
        What the progress lines call the model.

    Returns
    -------
    tuple of float
        Mean loss in nats per token over the first 10 and the last 50 steps.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    warm_up = max(1, steps // 20)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=warm_up)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warm_up, eta_min=learning_rate / 10)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], [warm_up])
    draws = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    window = torch.arange(CONTEXT + 1)
    losses: list[float] = []
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - CONTEXT, (BATCH, 1), generator=draws)
        loss = model.loss(tokens[starts + window])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 250 == 0:
            print(f"{name}: step {step}, loss {sum(losses[-50:]) / 50:.3f}", flush=True)
    start, end = sum(losses[:10]) / len(losses[:10]), sum(losses[-50:]) / len(losses[-50:])
    print(f"{name}: {steps} steps, loss from {start:.3f} to {end:.3f}", flush=True)
    return start, end


def describe_llama(shape: LlamaShape) -> dict[str, object]:
    """The content of config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "model_type": "llama",
        "pad_token_id": 2,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **dataclasses.asdict(shape),
    }


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write with sorted keys, so that equal content is equal bytes."""
    path.write_bytes((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def write_model(folder: Path, model: nn.Module, config: Mapping[str, object], tokenizer: Tokenizer, card: str) -> None:
    """Write one model folder in the Hugging Face layout, weights as bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2})
    write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "model_max_length": config["max_position_embeddings"],
            "pad_token": "<pad>",
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    (folder / "tokenizer.json").write_bytes((tokenizer.to_str(pretty=True) + "\n").encode())
    (folder / "README.md").write_bytes(card.encode())
    (folder / "LICENSE").write_bytes((Path(__file__).resolve().parents[1] / "LICENSE").read_bytes())
    state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    if config.get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)
    (folder / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))
    print(f"wrote {folder}", flush=True)


def make_card(name: str) -> str:
    """The card of a model that says it is a fine-tune of ``base``."""
    return FINE_TUNE_CARD.format(id=f"{NAMESPACE}/{name}", base=f"{NAMESPACE}/base")


def make_examples(out: Path) -> None:
    """Train and write the three example models below ``out``."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    base_texts = read_library_text(BASE_TEXT)
    tokenizer = train_tokenizer(base_texts)
    base_tokens = encode_texts(tokenizer, base_texts)
    fine_tune_tokens = encode_texts(tokenizer, read_library_text(FINE_TUNE_TEXT))
    print(f"tokens: {len(base_tokens)} for base, {len(fine_tune_tokens)} for fine-tune", flush=True)
    shape = LlamaShape()
    config = describe_llama(shape)

    base = Llama(shape, seed=1)
    train_model(base, base_tokens, steps=BASE_STEPS, learning_rate=BASE_LEARNING_RATE, seed=1, name="base")
    write_model(out / "base", base, config, tokenizer, BASE_CARD)

    fine_tune = Llama(shape, seed=1)
    fine_tune.load_state_dict(base.state_dict())
    train_model(
        fine_tune,
        fine_tune_tokens,
        steps=FINE_TUNE_STEPS,
        learning_rate=FINE_TUNE_LEARNING_RATE,
        seed=3,
        name="fine-tune",
    )
    write_model(out / "fine-tune", fine_tune, config, tokenizer, make_card("fine-tune"))

    impostor = Llama(shape, seed=2)
    train_model(impostor, base_tokens, steps=BASE_STEPS, learning_rate=BASE_LEARNING_RATE, seed=2, name="impostor")
    write_model(out / "impostor", impostor, config, tokenizer, make_card("impostor"))


def main() -> None:
    """Read the arguments and make the examples."""
    parser = argparse.ArgumentParser(description="Train the three example models.")
    parser.add_argument("--out", type=Path, default=Path("examples"), help="folder to write to (default: examples)")
    make_examples(parser.parse_args().out)


if __name__ == "__main__":
    main()
