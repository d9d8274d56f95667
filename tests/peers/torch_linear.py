"""Time a linear layer without bias in PyTorch on the CPU: its forward and both gradients.

`cargo xtask bench ops linear --against torch` runs this. Prints a JSON object for each pass, with median milliseconds of calls
that take at least 0.3 seconds together, after two that are not timed: as our side.
"""
import argparse, json, statistics, subprocess, sys, time

import torch_limits


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ["rows", "inputs", "outputs"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--case", default="linear", help="printed with each figure")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    torch_limits.add_arguments(parser)
    return parser.parse_args()


def median_ms(call):
    call(), call()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < 0.3:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def measure(args):
    torch = torch_limits.import_torch(args)
    x, w = torch.randn(args.rows, args.inputs), torch.randn(args.outputs, args.inputs)
    passes = {"forward": median_ms(lambda: torch.nn.functional.linear(x, w))}
    x.requires_grad_(), w.requires_grad_()
    y = torch.nn.functional.linear(x, w)
    g = torch.randn_like(y)
    gradient = lambda of: median_ms(lambda: torch.autograd.grad(y, of, g, retain_graph=True))
    passes.update(input_gradient=gradient(x), weight_gradient=gradient(w))
    for name, ms in passes.items():
        print(json.dumps({"case": args.case, "pass": name, "ms": ms}))


if __name__ == "__main__":
    args = arguments()
    if args.here:
        measure(args)
    else:
        child = subprocess.run([sys.executable, *sys.argv, "--here"], env=torch_limits.environment(args))
        sys.exit(child.returncode)
