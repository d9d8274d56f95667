"""What a measuring process of PyTorch may use: threads, and vectors no wider than ours.

Most of it must be in the environment before torch is imported: `environment` makes that for a child process.
"""
import os, re, sys

# By our name of the level: ATen's, oneDNN's and MKL's name of it, and the bits of inductor's vectors (0: none).
LEVELS = {
    "portable": ("default", "SSE41", "SSE4_2", 0),
    "avx2": ("avx2", "AVX2", "AVX2", 256),
    "avx512": ("avx512", "AVX512_CORE", "AVX512", 512),
}
# The compiler flags of a level, in place of `-march=native`, with which gcc may choose wider vectors for plain loops.
MARCH = {"portable": "x86-64", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}


def add_arguments(parser):
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--simd", choices=LEVELS, help="caps the vector instructions; default: all that the processor has")


def environment(args):
    """The environment of a child process that measures."""
    threads = str(args.threads)
    env = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    if args.simd:
        aten, onednn, mkl, _ = LEVELS[args.simd]
        env.update(ATEN_CPU_CAPABILITY=aten, ONEDNN_MAX_CPU_ISA=onednn, MKL_ENABLE_INSTRUCTIONS=mkl)
    return env


def import_torch(args):
    """torch, in a process whose environment is the one above, with the code that torch.compile generates capped, too."""
    import torch
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.simd:
        import torch._inductor.config as inductor
        inductor.cpp.simdlen = LEVELS[args.simd][3]
        if hasattr(inductor.cpp, "march"):
            inductor.cpp.march = MARCH[args.simd]
    return torch


def reason(child):
    """Why a child process failed: the last exception that it named, else the last line that it wrote."""
    lines = [line.strip() for line in child.stderr.splitlines() if line.strip()]
    exceptions = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failed|NotFound)\w*:", line)]
    return (exceptions or lines or [f"it ended with status {child.returncode}"])[-1][:300]


def peak_rss_mb():
    """The most memory that this process has held so far, in MB; children, such as compilers, do not count."""
    try:
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return -(-int(lines["VmHWM"].split()[0]) // 1024)
    except (OSError, KeyError):
        import resource
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024))
