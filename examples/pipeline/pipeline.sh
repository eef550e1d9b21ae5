#!/bin/sh
# Sign only what passed: train, evaluate, sign, and train again from what was signed.
#
#   pipeline.sh DIR                          in a new directory, on an embedded layout (seconds, no server)
#   MODELS=localhost:5000/ml/churn pipeline.sh DIR   the same on a registry
#
# Needs ocimodel, numpy and safetensors. In real life the four parts are four jobs: only `trainer` holds trainer.key,
# only `evaluator` holds evaluator.key, and the policy and the thresholds come from a repository that neither may
# change.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
if [ -n "$(ls -A)" ]; then
    echo "$1 is not empty" >&2
    exit 2
fi
MODELS=${MODELS:-oci:$PWD/models}
export OCIMODEL_STATE_DIR="$PWD/state" OCIMODEL_CACHE_DIR="$PWD/cache" OCIMODEL_AUDIT_LOG="$PWD/audit.jsonl"
export OCIMODEL_QUIET=1
unset OCIMODEL_SIGNING_KEY OCIMODEL_VERIFY_KEY OCIMODEL_POLICY # each job says whom it believes

say() {
    printf '\n== %s\n' "$*"
}

# refused CODE COMMAND…: the command has to end with this code.
refused() {
    expected=$1
    shift
    code=0
    "$@" || code=$?
    if [ "$code" -ne "$expected" ]; then
        echo "exit code $code instead of $expected: $*" >&2
        exit 1
    fi
    echo "(exit code $code, as it should be)"
}

train() { # NAME [options of train.py]
    name=$1
    shift
    python3 "$here/train.py" --data data/train.csv --out "$name" "$@"
    ocimodel push "$name" "$MODELS:$name" --metadata "$name.yaml"
}

evaluate() { # NAME REF@DIGEST
    # Nobody has signed it yet, and it says so; the digest says which one it is.
    ocimodel pull "$2" -o "evaluator/$1"
    python3 "$here/evaluate.py" "evaluator/$1" data/heldout.csv "evaluator/$1.json"
    cat "evaluator/$1.json"
    ocimodel attest "$2" --metrics "evaluator/$1.json" --thresholds thresholds.yaml --key evaluator.key
    ocimodel attest "$2" --scan "evaluator/$1" --key evaluator.key
}

sign() { # REF@DIGEST
    ocimodel sign "$1" --key trainer.key --require-attestation evaluation --require-attestation scan \
        --attestation-policy policy.json
}

say "keys, data, thresholds and the policy"
ocimodel key generate trainer --no-password
ocimodel key generate evaluator --no-password
cp "$here/policy.json" "$here/thresholds.yaml" .
python3 "$here/data.py" data
mkdir evaluator

say "a first model: trained and pushed, not signed"
first=$(train first)
echo "$first"

say "nobody has evaluated it: it cannot be signed"
refused 19 sign "$first"

say "the evaluator measures it, looks for what could harm, and attests both"
evaluate first "$first"

say "now it can be signed, and passes the policy"
sign "$first"
ocimodel verify "$first" --policy policy.json

say "a model that was hardly trained: its evaluation is attested as well, and says FAILED"
poor=$(train poor --steps 0)
evaluate poor "$poor"
refused 19 sign "$poor"
refused 10 ocimodel pull "$poor" -o served --policy policy.json

say "retraining begins with the first model, by the very verification that serving does"
ocimodel pull "$first" -o base --policy policy.json
second=$(train second --base base --base-ref "$first" --steps 200)
echo "$second"
evaluate second "$second"
sign "$second"

say "where the second one comes from, edge by edge"
ocimodel lineage "$second" --policy policy.json

say "what has been said about it"
ocimodel attest show "$second" --key evaluator.pub
