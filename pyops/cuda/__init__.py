"""CUDA: kernels/*/cuda.cu on a device through CuPy (backend "cuda"), or on the CPU by the emulator
(backend "cuda-emulated").

Nothing here imports CuPy, Numba or a compiler before a CUDA backend is used.
"""
