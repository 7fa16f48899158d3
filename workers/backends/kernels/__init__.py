"""C++ kernels that are compiled into AOTInductor packages, and how."""
