/* isa.h -- one header of kernels, compiled once for each instruction set and chosen at run time.
 *
 * A family of kernels is one header in two parts. rows.h, for instance:
 *
 *     #ifndef TT_ISA                              the outer part, read once
 *     #define TT_TEMPLATE "rows.h"
 *     #include "isa.h"                            reads rows.h again for each instruction set, now with TT_ISA defined
 *     TT_DISPATCH(void, relu, (const float *x, float *out, ptrdiff_t n), (x, out, n))
 *     #else                                       the template: every function is called TT(name)
 *     static void TT(relu)(const float *x, float *out, ptrdiff_t n) { ... }
 *     #endif
 *
 * TT_DISPATCH defines relu, which calls the TT(relu) of the level in tt_isa; rows.pyx declares relu from "rows.h". Inside a
 * template these are defined:
 *
 *     TT(name)           name with the suffix of this instruction set
 *     TT_ISA             TT_GENERIC, TT_AVX2, TT_AVX512 or TT_VNNI, for what differs between them
 *     TT_VECTOR          bytes of one vector register; TT_LANES floats fit in it
 *     TT(f32v), TT(f64v) vectors of float and double that may be loaded from any address: *(const TT(f32v) *)x
 *
 * Parts that several templates share (vmath.h, gemm_tile.h) are included inside the template, once for each instance, and
 * call their functions TT(name) too. TT_VNNI is compiled only for templates that define TT_WITH_VNNI before isa.h.
 *
 * Compiled with a function-level target, never -march: one binary serves mixed machines. GCC on x86-64 makes all levels;
 * other compilers with vector extensions (clang) and other processors (16-byte NEON) make the generic one. A compiler
 * without them (MSVC) makes none, and NumPy runs. */
#ifndef TINYTORCH_ISA_H
#define TINYTORCH_ISA_H
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#define TT_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define TT_COMPILER "gcc " __VERSION__
#else
#error "the kernels need the vector extensions of GCC or clang"
#endif

enum { TT_GENERIC = 1, TT_AVX2 = 3, TT_AVX512 = 4, TT_VNNI = 5 };

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TT_X86 1
#else
#define TT_X86 0
#endif

/* The level in use, in this extension module. */
static int tt_isa = TT_GENERIC;

/* The highest level of this machine: exactly the features that the pragmas below name. The operating system has to save the
 * wide registers too, which __builtin_cpu_supports takes into account. */
static inline int tt_best_isa(void) {
#if TT_X86
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")))
        return TT_GENERIC;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
          && __builtin_cpu_supports("avx512vl")))
        return TT_AVX2;
    return __builtin_cpu_supports("avx512vnni") ? TT_VNNI : TT_AVX512;
#else
    return TT_GENERIC;
#endif
}

static inline const char *tt_isa_name(int level) {
    switch (level) {
    case TT_VNNI: return "AVX-512 VNNI";
    case TT_AVX512: return "AVX-512";
    case TT_AVX2: return "AVX2";
    }
#if defined(__x86_64__)
    return "SSE2";
#elif defined(__aarch64__)
    return "NEON";
#else
    return "generic";
#endif
}

#define TT_JOIN_(a, b) a##b
#define TT_JOIN(a, b) TT_JOIN_(a, b)
#define TT(name) TT_JOIN(name, TT_SUFFIX)
#define TT_LANES (TT_VECTOR / 4)
#endif /* TINYTORCH_ISA_H: what follows is read once for each template */

#ifdef TT_TEMPLATE

#define TT_TYPES                                                                             \
    typedef float TT(f32v) __attribute__((vector_size(TT_VECTOR), aligned(4), may_alias));   \
    typedef double TT(f64v) __attribute__((vector_size(TT_VECTOR), aligned(8), may_alias));  \
    typedef int32_t TT(i32v) __attribute__((vector_size(TT_VECTOR), aligned(4), may_alias));

#define TT_ISA 1
#define TT_SUFFIX _generic
#define TT_VECTOR 16
TT_TYPES
#include TT_TEMPLATE
#undef TT_ISA
#undef TT_SUFFIX
#undef TT_VECTOR

#if TT_X86
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2")
#define TT_ISA 3
#define TT_SUFFIX _avx2
#define TT_VECTOR 32
TT_TYPES
#include TT_TEMPLATE
#undef TT_ISA
#undef TT_SUFFIX
#undef TT_VECTOR
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define TT_ISA 4
#define TT_SUFFIX _avx512
#define TT_VECTOR 64
TT_TYPES
#include TT_TEMPLATE
#undef TT_ISA
#undef TT_SUFFIX
#undef TT_VECTOR
#pragma GCC pop_options

#ifdef TT_WITH_VNNI
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
#define TT_ISA 5
#define TT_SUFFIX _vnni
#define TT_VECTOR 64
TT_TYPES
#include TT_TEMPLATE
#undef TT_ISA
#undef TT_SUFFIX
#undef TT_VECTOR
#pragma GCC pop_options
#define TT_TOP(name) name##_vnni
#else
#define TT_TOP(name) name##_avx512
#endif

#define TT_DISPATCH(type, name, parameters, arguments)     \
    static type name parameters {                          \
        switch (tt_isa) {                                  \
        case TT_VNNI: return TT_TOP(name) arguments;       \
        case TT_AVX512: return name##_avx512 arguments;    \
        case TT_AVX2: return name##_avx2 arguments;        \
        default: return name##_generic arguments;          \
        }                                                  \
    }

#else

#define TT_DISPATCH(type, name, parameters, arguments) \
    static type name parameters { return name##_generic arguments; }

#endif
#undef TT_TEMPLATE
#endif
