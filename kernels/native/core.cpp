// The native extension: what polyfield runs as machine code. Python sees it as polyfield._core.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

// The widest vector instructions that this CPU runs and this engine knows.
static const char* instruction_set() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "generic";
}

NB_MODULE(_core, m) {
    m.doc() = "Native parts of polyfield.";
    m.def("instruction_set", &instruction_set,
          "The widest instruction set that this CPU runs: 'avx512', 'avx2' or 'generic'.");
}
