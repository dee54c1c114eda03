"""What lies in a bundle, and how large it may be. A bundle is a folder of data: nothing in it is ever executed."""

from __future__ import annotations

#: Layout of a bundle; a reader refuses another than its own.
FORMAT = 1
#: Operators of the ONNX graphs: the newest set that every ONNX Runtime from 1.20 on has.
OPSET = 20

MANIFEST, CONFIG, WEIGHTS, CARD = "manifest.json", "config.json", "weights.safetensors", "card.md"
STEP, PREFILL, CHECK, NATIVE = "step.onnx", "prefill.onnx", "check.safetensors", "native.bin"
BEGIN = "begin.onnx"  # of a navigator: where a run begins
#: Most bytes of each file: what is larger is not read. A model of 64 wide and 4 layers has 1 MB.
LIMITS = {
    MANIFEST: 1 << 16,
    CONFIG: 1 << 22,
    CARD: 1 << 20,
    WEIGHTS: 1 << 32,
    STEP: 1 << 31,
    PREFILL: 1 << 31,
    BEGIN: 1 << 31,
    CHECK: 1 << 28,
    NATIVE: 1 << 32,
}
#: What every bundle holds; the others may be missing.
NEEDED = (CONFIG, WEIGHTS, CARD, CHECK)

#: Starts of names: of the state that goes into a graph and comes out, of the first state and of parts of the check.
STATE, NEXT, INITIAL, WEIGHT = "state.", "next.", "initial.", "weight."
