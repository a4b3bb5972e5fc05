"""What a publisher says about origin and license, and where."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.claims import ADAPTER, CARD, CONFIG, MAX_CLAIMS, MAX_ID, MERGES, read_claims
from provenance_gate.artifact.interface import BaseClaim, Claims, ClaimSource, LicenseClaim
from provenance_gate.errors import ArtifactError, MalformedFileError

MERGE, MOE = MERGES


def card(text: str) -> Claims:
    return read_claims({CARD: text.encode()})


def front(text: str) -> Claims:
    return card(f"---\n{text}---\n# Model\n")


def base(id: str, line: int, relation: str | None = None) -> BaseClaim:
    return BaseClaim(id, relation, None, ClaimSource(CARD, line, "base_model"))


def ids(claims: Claims) -> list[str]:
    return [b.id for b in claims.bases]


def merge(text: str, path: PurePosixPath = MERGE) -> list[tuple[str, str | None, int, str]]:
    claims = read_claims({path: text.encode()})
    assert all(b.relation == "merge" and b.source.path == path for b in claims.bases)
    return [(b.id, b.revision, b.source.line, b.source.field) for b in claims.bases]


# The card


def test_no_files_claim_nothing() -> None:
    assert read_claims({}) == Claims()
    assert read_claims({PurePosixPath("sub/README.md"): b"---\nlicense: mit\n---\n"}) == Claims()


@pytest.mark.parametrize(
    "text", ["", "# Model\n", "text\n---\nlicense: mit\n---\n", "---\n---\n", "---\n# x\n---\n", "----\nlicense: mit\n"]
)
def test_a_card_without_front_matter_claims_nothing(text: str) -> None:
    assert card(text) == Claims()


def test_one_base_is_a_string() -> None:
    assert front("base_model: org/base\n").bases == (base("org/base", 2),)


def test_several_bases_are_a_list_and_each_has_its_line() -> None:
    text = "license: mit\nbase_model:\n  - org/one\n  # between\n  - 'org/two'\nbase_model_relation: merge\n"
    assert front(text).bases == (base("org/one", 4, "merge"), base("org/two", 6, "merge"))


@pytest.mark.parametrize("relation", ["finetune", "adapter", "merge", "quantized"])
def test_the_relation_is_one_of_four(relation: str) -> None:
    assert front(f"base_model: a/b\nbase_model_relation: {relation}\n").bases == (base("a/b", 2, relation),)


@pytest.mark.parametrize(
    "empty", ["base_model:\n", "base_model: []\n", "base_model: ''\n", "base_model: ~\n", "other: a/b\n"]
)
def test_an_empty_base_is_no_claim(empty: str) -> None:
    assert front(empty) == Claims()


@pytest.mark.parametrize(
    "text",
    [
        "---\r\nlicense: mit\r\nbase_model: org/base\r\n---\r\n# Model\r\n",
        "\ufeff---\nlicense: mit\nbase_model: org/base\n---\n",
        "---  \nlicense: mit\nbase_model: org/base\n--- \t\n",
        "---\nlicense: mit\nbase_model: org/base\n---",
        "---\nlicense: mit\nbase_model: org/base\n---\ntext\n---\nlicense: other\n---\n",
    ],
)
def test_line_ends_and_byte_order_mark_change_nothing(text: str) -> None:
    claims = card(text)
    assert claims.bases == (base("org/base", 3),)
    assert claims.licenses == (LicenseClaim("mit", None, None, ClaimSource(CARD, 2, "license")),)


def test_empty_lines_before_the_front_matter_count() -> None:
    assert card("\n\n---\nbase_model: a/b\n---\n").bases == (base("a/b", 4),)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("---\nlicense: mit\n", 1, "never closed"),
        ("\n---\nlicense: mit\n ---\n", 2, "never closed"),
        ("---\nlicense: mit\nlicense: mit\n---\n", 3, "twice"),
        ("---\nbase_model: [\n---\n", 3, "not valid YAML"),
        ("---\n- a\n- b\n---\n", 2, "expected a mapping"),
        ("---\nx: 1\nbase_model: 3\n---\n", 3, "base_model: expected a string, found 3"),
        ("---\nbase_model: true\n---\n", 2, "base_model: expected a string, found true"),
        ("---\nbase_model: {id: a/b}\n---\n", 2, "base_model: expected a string"),
        ("---\nbase_model:\n- a/b\n- [c/d]\n---\n", 4, "base_model: expected a string"),
        ("---\nbase_model: a/b\nbase_model_relation: cousin\n---\n", 3, "base_model_relation: expected one of"),
        ("---\nlicense: 1\n---\n", 2, "license: expected a string"),
        ("---\nlicense: mit\nlicense_link: [x]\n---\n", 3, "license_link: expected a string"),
        (f"---\nbase_model: {'x' * (MAX_ID + 1)}\n---\n", 2, "base_model: 201 characters"),
        ('---\nbase_model: "a/b\\u202Ec"\n---\n', 2, "base_model: holds characters that do not print"),
        ('---\nlicense: "a\\e[2J"\n---\n', 2, "license: holds characters that do not print"),
    ],
)
def test_a_card_that_cannot_be_believed_names_line_and_field(text: str, line: int, word: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^README\.md:{line}:") as caught:
        card(text)
    assert word in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_card_that_is_not_utf8_names_the_line() -> None:
    with pytest.raises(MalformedFileError, match=r"^README\.md:3: not UTF-8$"):
        read_claims({CARD: b"---\nlicense: mit\nx: \xff\n---\n"})


@pytest.mark.parametrize("word", ["no", "yes", "on", "2024-01-01", "0x10"])
def test_an_id_that_yaml_1_1_would_change_stays_a_string(word: str) -> None:
    assert ids(front(f"base_model: {word}\n")) == [word]


# Licenses


def test_one_license_with_name_and_link() -> None:
    text = "license: other\nlicense_name: llama3\nlicense_link: https://example.com/LICENSE\n"
    source = ClaimSource(CARD, 2, "license")
    assert front(text).licenses == (LicenseClaim("other", "llama3", "https://example.com/LICENSE", source),)


def test_several_licenses_leave_the_name_to_the_one_without_an_id() -> None:
    text = "license:\n- mit\n- Other\nlicense_name: x\nlicense_link: LICENSE\n"
    assert [(c.id, c.name, c.link, c.source.line) for c in front(text).licenses] == [
        ("mit", None, None, 3),
        ("Other", "x", "LICENSE", 4),
    ]


def test_a_name_without_a_license_is_another_license() -> None:
    assert front("x: 1\nlicense_name: mine\n").licenses == (
        LicenseClaim("other", "mine", None, ClaimSource(CARD, 3, "license_name")),
    )


@pytest.mark.parametrize("text", ["license:\n", "license: ''\n", "license: []\n", "license_link: x\n"])
def test_an_empty_license_is_no_claim(text: str) -> None:
    assert front(text).licenses == ()


# Adapter and config


def test_an_adapter_names_base_and_revision() -> None:
    text = '{\n  "peft_type": "LORA",\n  "revision": "abc",\n  "base_model_name_or_path": "org/base"\n}'
    assert read_claims({ADAPTER: text.encode()}).bases == (
        BaseClaim("org/base", "adapter", "abc", ClaimSource(ADAPTER, 4, "base_model_name_or_path")),
    )


@pytest.mark.parametrize("text", ["{}", '{"base_model_name_or_path": null}', '{"base_model_name_or_path": ""}'])
def test_an_adapter_without_a_base_claims_nothing(text: str) -> None:
    assert read_claims({ADAPTER: text.encode()}) == Claims()


@pytest.mark.parametrize("field", ["base_model_name_or_path", "revision"])
@pytest.mark.parametrize("value", [1, [], {}, True])
def test_an_adapter_field_of_the_wrong_type_names_line_and_field(field: str, value: object) -> None:
    text = json.dumps({"r": 1, "base_model_name_or_path": "a/b", field: value}, indent=1)
    with pytest.raises(MalformedFileError, match=rf"^adapter_config\.json:[34]: {field}: expected a string"):
        read_claims({ADAPTER: text.encode()})


@pytest.mark.parametrize("name", ["org/name", "gpt2", "gpt2-xl", "bert-base-uncased", "t5-small", "a/b.c_d-e"])
def test_a_published_name_in_the_config_is_a_claim(name: str) -> None:
    text = json.dumps({"x": {"_name_or_path": "inner/one"}, "_name_or_path": name}, indent=2)
    assert read_claims({CONFIG: text.encode()}).bases == (
        BaseClaim(name, None, None, ClaimSource(CONFIG, 5, "_name_or_path")),
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "./model",
        "../org/name",
        "/home/user/model",
        "/data/org/name",
        "org/name/",
        "a/b/c",
        "C:\\models\\x",
        "~/model",
        "output",
        "checkpoint-500",
        "results/checkpoint-500",
        "org/na me",
        "organisation/näme",
        "-a/b",
        "s3://bucket/x",
        "https://huggingface.co/org/name",
        "x" * 300,
    ],
)
def test_a_local_path_in_the_config_is_no_claim(name: str) -> None:
    assert read_claims({CONFIG: json.dumps({"_name_or_path": name}).encode()}) == Claims()


def test_the_line_is_that_of_the_key_not_of_a_value_or_an_inner_key() -> None:
    text = '{"a": "_name_or_path",\n"b": {"_name_or_path": ":"},\n"c": ["_name_or_path"],\n"\\u005fname_or_path"\n:\n"a/b"}'
    assert read_claims({CONFIG: text.encode()}).bases[0].source.line == 4


# Merges


def test_mergekit_models_with_base() -> None:
    text = "models:\n  - model: org/one\n  - model: org/two@v1\n    parameters: {weight: 0.5}\nbase_model: org/three\n"
    assert merge(text) == [
        ("org/one", None, 2, "models[].model"),
        ("org/two", "v1", 3, "models[].model"),
        ("org/three", None, 5, "base_model"),
    ]


def test_mergekit_slices_and_modules() -> None:
    text = "slices:\n- sources:\n  - model: a/one\n    layer_range: [0, 8]\n  - model: a/two\n"
    assert [found[0] for found in merge(text)] == ["a/one", "a/two"]
    text = "modules:\n  text:\n    slices:\n    - sources:\n      - model: a/one\n"
    assert merge(text) == [("a/one", None, 5, "modules[].slices[].sources[].model")]


def test_mergekit_experts() -> None:
    text = "base_model: a/base\nexperts:\n  - source_model: a/one\n    positive_prompts: [x]\n"
    assert [found[0] for found in merge(text, MOE)] == ["a/one", "a/base"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a/b+c/lora", [("a/b", None), ("c/lora", None)]),
        ("a/b@main+c/lora@v2", [("a/b", "main"), ("c/lora", "v2")]),
        ("{model: a/b, lora: c/d}", [("a/b", None), ("c/d", None)]),
        ("{model: {path: a/b, revision: r1}}", [("a/b", "r1")]),
    ],
)
def test_mergekit_references(reference: str, expected: list[tuple[str, str | None]]) -> None:
    found = merge(f"models:\n  - model: {reference}\n")
    assert [(id, revision) for id, revision, _, _ in found] == expected
    assert {line for _, _, line, _ in found} == {2}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", 1),
        ("models: a/b\n", 1),
        ("models:\n- a/b\n", 2),
        ("models:\n- model: 1\n", 2),
        ("base_model: [a/b]\n", 1),
        ("slices:\n- sources: {a: b}\n", 2),
        ("experts:\n- source_model: {path: 3}\n", 2),
    ],
)
def test_a_merge_file_of_another_form_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(MalformedFileError, match=rf"^mergekit_config\.yml:{line}: .*expected"):
        merge(text)


# All together


def test_claims_stand_in_the_order_of_their_sources() -> None:
    files = {
        CONFIG: b'{"_name_or_path": "o/config"}',
        MOE: b"experts: [{source_model: o/moe}]\n",
        MERGE: b"base_model: o/merge\n",
        ADAPTER: b'{"base_model_name_or_path": "o/adapter"}',
        CARD: b"---\nbase_model: o/card\n---\n",
    }
    assert ids(read_claims(files)) == ["o/card", "o/adapter", "o/merge", "o/moe", "o/config"]


def test_a_base_named_twice_is_one_claim_with_what_either_says() -> None:
    files = {
        CARD: b"---\nbase_model: Org/Base\n---\n",
        ADAPTER: b'{"base_model_name_or_path": "org/base", "revision": "r1"}',
    }
    assert read_claims(files).bases == (BaseClaim("Org/Base", "adapter", "r1", ClaimSource(CARD, 2, "base_model")),)


def test_two_revisions_of_one_base_are_two_claims() -> None:
    assert [f[:2] for f in merge("models:\n- model: a/b@1\n- model: a/b@2\n- model: a/b@1\n")] == [
        ("a/b", "1"),
        ("a/b", "2"),
    ]


def test_more_claims_than_the_limit_are_refused() -> None:
    many = "".join(f"- a/m{n}\n" for n in range(MAX_CLAIMS))
    assert len(front(f"base_model:\n{many}").bases) == MAX_CLAIMS
    with pytest.raises(MalformedFileError, match=r"^README\.md:103: base_model: more than 100"):
        front(f"base_model:\n{many}- a/last\n")
    with pytest.raises(MalformedFileError, match=r"^README\.md:103: license: more than 100"):
        front(f"license:\n{many}- a/last\n")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{1,4}/[a-z]{1,4}", fullmatch=True), max_size=6))
def test_the_ids_of_a_list_are_read_once_each_in_order(names: list[str]) -> None:
    claims = front(f"base_model: {json.dumps(names)}\n")
    assert ids(claims) == list(dict.fromkeys(names))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([CARD, ADAPTER, MERGE, MOE, CONFIG]),
    st.text(st.sampled_from("-:{}[]\",'ab/@+ \r\n\t\ufeff\u2028base_model_license"), max_size=60),
)
def test_any_text_is_read_or_refused(path: PurePosixPath, text: Any) -> None:
    for whole in (text, f"---\n{text}\n---\n"):
        try:
            read_claims({path: whole.encode()})
        except ArtifactError as error:
            assert str(error).startswith(path.name)
            assert str(error).isprintable()
