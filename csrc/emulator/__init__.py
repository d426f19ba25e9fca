"""The CUDA emulator's C++: a header in front of an unmodified .cu file, and the scheduler and
checker it is linked with."""
