"""Runs `synlabel bench` and the PyTorch peer in turns and prints how many times as fast synlabel is.

Other work on the machine slows both alike when they take turns, so the ratios hold where the seconds may not. Each turn
starts a process of its own, does every part once to warm up and then `--rounds` times; the median over all turns counts.

    python -m venv peer && peer/bin/pip install torch numpy
    peer/bin/python tools/peer/compare.py target/release/synlabel --preset small --size 64 --batch 4

On a graphics card (`--device cuda`) PyTorch also runs compiled, and memory is the card's.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# The parts of synlabel's bench, and what each is compared with.
PARTS = {
    "iteration": ["iteration-published", "iteration-lean"],
    "generator": ["generator"],
    "segmentation-step": ["segmentation-step"],
    "segmentation-prediction": ["segmentation-prediction"],
}


def run(command):
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("synlabel", help="the binary")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda on PyTorch's side")
    parser.add_argument("--as-device", help="what synlabel calls the device, such as vulkan [default: the same]")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    common = ["--preset", options.preset, "--size", str(options.size), "--batch", str(options.batch), "--rounds", str(options.rounds)]
    common += ["--precision", options.precision]
    on_card = options.device != "cpu"
    forms = ["", " --compile"] if on_card else [""]
    memory_of = "card_bytes" if on_card else "peak_bytes"
    peer = str(Path(__file__).with_name("bench.py"))
    print("| part | PyTorch, s | synlabel, s | times as fast | PyTorch, MB | synlabel, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for part in options.only:
        peers = [name + form for name in PARTS[part] for form in forms]
        ours, theirs, memory = [], {name: [] for name in peers}, {}
        for _ in range(options.turns):
            for name in peers:
                figure = run([sys.executable, peer, *name.split(), *common, "--device", options.device])
                theirs[name] += figure["seconds"]
                memory[name] = max(memory.get(name, 0), figure[memory_of])
            device = options.as_device or options.device
            figure = run([options.synlabel, "bench", "--device", device, "--json", "--only", part, *common])["figures"][0]
            ours += figure["seconds"]
            memory[part + " of synlabel"] = max(memory.get(part + " of synlabel", 0), figure[memory_of] or 0)
        for name in peers:
            medians = statistics.median(theirs[name]), statistics.median(ours)
            megabytes = [memory[key] / 1e6 for key in (name, part + " of synlabel")]
            print(f"| {name} | {medians[0]:.4f} | {medians[1]:.4f} | {medians[0] / medians[1]:.2f} | {megabytes[0]:.0f} | {megabytes[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
