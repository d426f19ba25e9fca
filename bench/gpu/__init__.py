"""Everything that only a GPU can tell, in one run of bounded length (see docs/cuda.md).

    python -m pyops.bench.gpu run --out DIR          all stages, each in processes of its own
    python -m pyops.bench.gpu stage NAME --out FILE  one of them, in this process
    python -m pyops.bench.gpu report [DIR]           what the lines of a run say, or what is expected of one
    python -m pyops.bench.gpu estimates              that, computed anew: needs NVRTC and no GPU
    python -m pyops.bench.gpu bundle FILE            what a machine without a compiler or a network needs
"""
