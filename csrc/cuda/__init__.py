"""Headers of the CUDA kernels: real.cuh, reduce.cuh, index.cuh, ptx.cuh."""
