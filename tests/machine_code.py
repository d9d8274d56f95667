"""Looks for the stack in the innermost loops of products: sums of a tile that leave the registers make them twice as slow.

usage: machine_code.py [LIBRARY]
LIBRARY is the compiled `libtransplant_kernels-*.rlib` (default: the newest in target/release/deps). Needs objdump, on x86-64.
Prints each innermost loop with twelve or more multiply-adds on vectors; exits with 1 when one of them reads or writes the stack,
or when a width of vectors has no such loop at all. Loops of depthwise convolutions, whose sums are fewer, are not looked at.
"""
import glob, os, re, subprocess, sys

library = sys.argv[1] if len(sys.argv) > 1 else max(glob.glob("target/release/deps/libtransplant_kernels-*.rlib"), key=os.path.getmtime)
text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True).stdout

functions, code = [], []
for line in text.splitlines():
    if re.match(r"^[0-9a-f]+ <.*>:$", line):
        code = []
        functions.append(code)
    elif m := re.match(r"^\s+([0-9a-f]+):\s+(.*)$", line):
        code.append((int(m[1], 16), m[2]))

LEAST = 12
found = {"ymm": 0, "zmm": 0}
bad = 0
for code in functions:
    place = {address: i for i, (address, _) in enumerate(code)}
    jumps = [(place[int(m[1], 16)], i) for i, (_, text) in enumerate(code)
             if (m := re.match(r"j\w+\s+([0-9a-f]+)", text)) and int(m[1], 16) in place]
    loops = [(first, last) for first, last in jumps if first < last]
    inner = [a for a in loops if not any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in loops)]
    for first, last in inner:
        body = [text for _, text in code[first:last + 1]]
        sums = [text for text in body if text.startswith("vfmadd")]
        # One input of a product is spread over a vector for each row of the tile: that is what tells products from the rest.
        spread = sum("vbroadcastss" in text or "1to" in text for text in body)
        if len(sums) < LEAST or spread < len(sums) // 4:
            continue
        width = "zmm" if "zmm" in sums[0] else "ymm"
        stack = sum("%rsp" in text and ("ymm" in text or "zmm" in text) for text in body)
        found[width] += 1
        bad += stack > 0
        print(f"{width}: {len(sums)} multiply-adds in {len(body)} instructions, {stack} on the stack")
if bad or 0 in found.values():
    sys.exit(f"{bad} loops keep sums on the stack; loops by width: {found}")
