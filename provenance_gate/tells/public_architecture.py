"""Tell 2: the architecture is a public class, against the claim of an own one."""

from __future__ import annotations

import re
from typing import Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.card import Card, Said, read_card
from provenance_gate.tells.documents import CONFIG, json_document
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import config_facts, disclosed, public_models
from provenance_gate.tells.wording import answer, not_measured

OWN_ARCHITECTURE: Final = 0.5
"""The claim is about the architecture itself and the config contradicts it; the weights may still be the maker's own."""
OWN_MODEL: Final = 0.15
"""Many honest makers train their own weights in a public class; with a claim like "trained from scratch" it
fits both stories."""
NO_CODE: Final = 0.3
"""A class that no library has and no file defines cannot be loaded: a renamed public one is the plain explanation, an omitted
file or a library newer than our list another."""

_LIBRARY: Final = (
    r"Albert|Apertus|Arcee|Bamba|Bart|Bert|BioGpt|Bloom|BlenderBot|Camembert|CodeGen|Cohere|Cohere2|Ctrl|"
    r"Dbrx|Deberta|DebertaV2|DeepseekV2|DeepseekV3|DistilBert|Electra|Ernie|Ernie4_5|Exaone4|Falcon|"
    r"FalconH1|FalconMamba|Flaubert|Funnel|GPT2|GPTBigCode|GPTJ|GPTNeo|GPTNeoX|Gemma|Gemma2|Gemma3|"
    r"Gemma3n|Glm|Glm4|Glm4Moe|GptOss|Granite|GraniteMoe|GraniteMoeHybrid|Helium|HunYuanDenseV1|"
    r"HunYuanMoEV1|InternLM2|Jamba|JetMoe|LED|LayoutLMv3|Lfm2|Llama|Llama4|LlavaLlama|Longformer|LongT5|"
    r"M2M100|MBart|MPNet|MT5|Mamba|Mamba2|Marian|MegatronBert|MiniCPM|Ministral|Mistral|Mistral3|Mixtral|"
    r"MobileBert|ModernBert|Mpt|Nemotron|NemotronH|NomicBert|OPT|Olmo|Olmo2|Olmo3|Olmoe|OpenAIGPT|Pegasus|"
    r"Persimmon|Phi|Phi3|Phimoe|Qwen2|Qwen2Moe|Qwen2VL|Qwen2_5_VL|Qwen3|Qwen3Moe|Qwen3Next|Qwen3VL|"
    r"RecurrentGemma|RemBert|RoFormer|Roberta|Rwkv|SeedOss|SmolLM3|StableLm|Starcoder2|SwitchTransformers|"
    r"T5|T5Gemma|UMT5|Whisper|XGLM|XLM|XLMRoberta|XLMRobertaXL|XLNet|Zamba|Zamba2"
)
"""First parts of class names in transformers, for text models; classes of the catalog count as well."""
_CLASS: Final = re.compile(
    rf"(?:{_LIBRARY})(?:For[A-Z]\w{{2,60}}|LMHead|LMHeadModel|DoubleHeadsModel|MTModel|Model|EncoderModel)", re.ASCII
)
_MAX_FILES: Final = 10


class PublicArchitecture:
    """`architectures` names a class of a public library and the folder brings no code (`auto_map`, Python files),
    although the card speaks of an architecture or model of the maker's own; or it names a class that neither a library
    nor the folder defines.
    """

    id: Final = 2
    name: Final = "public-architecture"
    group: Final = TellGroup.CONFIG
    title: Final = "A public architecture is sold as an own one"

    def measure(self, case: Case) -> TellResult:
        """FIRED on a contradiction only: a public class by itself is what most honest models have."""
        expected = (
            "a public class and no claim of an own architecture, or code of the maker's own behind a class of his own"
        )
        reproduce = f"jq '.architectures, .auto_map' {CONFIG}; ls *.py"
        facts = config_facts(case.ours)
        if isinstance(facts, NotMeasured):
            return not_measured(self, facts.reason, expected, reproduce)
        classes = [c for c in facts.get("architectures") or () if isinstance(c, str)][:_MAX_FILES]
        if not classes:
            return not_measured(self, f"{CONFIG} names no architecture", expected, reproduce)
        models = [m for m in public_models(case) if set(classes) & set(m.config.get("architectures") or ())]
        public = bool(models) or all(_is_library_class(c) for c in classes)
        settings = json_document(case.ours, CONFIG)
        auto_map = not isinstance(settings, NotMeasured) and bool(settings.get("auto_map"))
        code = _code_files(case)
        shown = one_line(", ".join(classes), 120)
        numbers: dict[str, Json] = {
            "classes": [one_line(c, 100) for c in classes],
            "public": public,
            "auto_map": auto_map,
            "code_files": [one_line(c, 200) for c in code],
            "known_models_with_it": len(models),
        }
        if auto_map or code:
            seen = f"{CONFIG} names {shown}, and the folder brings code of its own; what that code is was not looked at"
            return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)
        if not public:
            artifact = case.ours.artifact
            fitting = artifact is not None and artifact.roles_from == "names" and bool(artifact.canonical)
            names = "; its tensors are named as public classes name them" if fitting else ""
            seen = f"{CONFIG} names {shown}, which no known library has, and no file here defines it{names}"
            return answer(
                self,
                seen=seen,
                expected=expected,
                reproduce=reproduce,
                strength=NO_CODE,
                numbers={**numbers, "tensor_names_are_public": fitting},
            )
        claim, strength = _claim(read_card(case.ours))
        shared = f", as {len(models)} known models do" if models else ""
        if claim is None:
            seen = f"{CONFIG} names the public class {shown}{shared}; the card claims no architecture of its own"
            return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)
        seen = f'{claim.source} says "{claim.text}", but {CONFIG} names the public class {shown}{shared}, and no code is here'
        at_hand = [m for m in models if m.side is not None]
        return answer(
            self,
            seen=seen,
            expected=expected,
            reproduce=reproduce,
            strength=strength,
            base=at_hand[0].id if at_hand else None,
            numbers={**numbers, "claim": claim.text, "disclosed": disclosed(case, at_hand)},
        )


def _claim(card: Card | NotMeasured) -> tuple[Said | None, float]:
    if isinstance(card, NotMeasured):
        return None, 0.0
    if card.own_architecture:
        return card.own_architecture[0], OWN_ARCHITECTURE
    weaker = (*card.own_model, *card.scratch)
    return (weaker[0], OWN_MODEL) if weaker else (None, 0.0)


def _is_library_class(name: str) -> bool:
    return _CLASS.fullmatch(name) is not None


def _code_files(case: Case) -> list[str]:
    files = case.ours.fingerprint.subject.files if case.ours.artifact is None else case.ours.artifact.files
    return [str(f.path) for f in files if f.path.suffix == ".py"][:_MAX_FILES]
